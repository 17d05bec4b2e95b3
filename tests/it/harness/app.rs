//! The whole provider on 127.0.0.1, as a test meets it: started on a free port, with a database of its own.
