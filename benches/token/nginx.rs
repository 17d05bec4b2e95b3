//! nginx with the same bytes in a file and the same headers, one worker for each processor.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use crate::served::{cpu, free_address, wait_for};

const PROGRAMS: [&str; 2] = ["/usr/sbin/nginx", "nginx"];

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

/// An answer that nginx is to give as we do: path, head and body.
pub(crate) struct Document {
    pub(crate) path: &'static str,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Document {
    /// The place of the configuration that gives it.
    fn location(&self, number: usize) -> String {
        let mut text =
            format!("location = {} {{ alias www/{number}; types {{}} add_header Last-Modified \"\";\n", self.path);
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        for (name, value) in headers {
            let value = value.replace('"', "\\\"");
            match name.to_ascii_lowercase().as_str() {
                "content-type" => writeln!(text, "default_type \"{value}\";").unwrap(),
                // One that is new each time, as ours is.
                "x-request-id" => writeln!(text, "add_header {name} $request_id;").unwrap(),
                // nginx writes them itself.
                "content-length" | "date" | "connection" => {}
                _ => writeln!(text, "add_header {name} \"{value}\";").unwrap(),
            }
        }
        text.push_str("}\n");
        text
    }
}

fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|name| Command::new(name).arg("-v").stderr(Stdio::null()).status().is_ok())
}

impl Nginx {
    /// What is missing, and how to get it.
    pub(crate) fn missing() -> Option<String> {
        program().is_none().then(|| "there is no `nginx`: apt-get install nginx-light".to_owned())
    }

    pub(crate) fn start(documents: &[Document]) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = folder.path();
        std::fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(at.join("www")).unwrap();
        let mut locations = String::new();
        for (number, document) in documents.iter().enumerate() {
            std::fs::write(at.join("www").join(number.to_string()), &document.body).unwrap();
            locations += &document.location(number);
        }
        let workers = std::thread::available_parallelism().unwrap();
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", at.display()))
            .concat();
        let configuration = format!(
            "daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{
             {places} access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; etag off; server_tokens off;
             max_ranges 0; keepalive_timeout 3600; keepalive_requests 1000000000;
             open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;
             server {{ listen {address} backlog=1024; {locations} }}
             }}"
        );
        std::fs::write(at.join("nginx.conf"), configuration).unwrap();
        let child = Command::new(program().unwrap())
            .arg("-p")
            .arg(at)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { address, child, _folder: folder };
        wait_for(address, "nginx");
        nginx
    }

    /// The processor time that it has used, in milliseconds: of its workers, too.
    pub(crate) fn cpu(&self) -> f64 {
        let parent = format!(" {} ", self.child.id());
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_worker = |number: &u32| {
            let text = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            text.rsplit(')').next().is_some_and(|rest| rest.get(2..).is_some_and(|rest| rest.starts_with(&parent)))
        };
        numbers.filter(is_worker).map(cpu).sum::<f64>() + cpu(self.child.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it may say so to them.
        drop(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status());
        drop(self.child.wait());
    }
}
