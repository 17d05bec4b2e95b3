//! Laws of the catalog as a whole.
