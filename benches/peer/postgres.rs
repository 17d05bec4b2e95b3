//! A throw-away PostgreSQL server, a database in it, and `pgbench`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};

/// Where the server's programs are: the newest of Debian's, or the path.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// The server refuses to run as root.
fn command(name: &str) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program(name));
        command
    } else {
        Command::new(program(name))
    }
}

/// Ends with this value, and takes its files along.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(Command::new("chown").arg("postgres").arg(folder.path()).stderr(Stdio::null()).status());
        let data = folder.path().join("data");
        let made = command("initdb").current_dir("/").args(["-A", "trust", "-U", "postgres", "-D"]).arg(&data).output();
        assert!(made.expect("install PostgreSQL, or name a server with --postgres URL").status.success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = command("postgres")
            .current_dir("/")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k", "", "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "shared_buffers=512MB", "-c", "synchronous_commit=on", "-c", "max_connections=200"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { folder, port, child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while PgConnection::establish(&server.url()).is_err() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data: &Path = &self.folder.path().join("data");
        let stop = command("pg_ctl").current_dir("/").arg("-D").arg(data).args(["-m", "immediate", "stop"]).output();
        drop(stop);
        drop(self.child.wait());
    }
}

/// A database that goes away with this value.
pub(crate) struct Database {
    pub(crate) url: String,
    admin: String,
    name: String,
}

impl Database {
    pub(crate) fn create(admin: &str) -> Self {
        let name = format!("portreeve_bench_{}", std::process::id());
        let mut server = PgConnection::establish(admin).unwrap();
        server.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let mut url = url::Url::parse(admin).unwrap();
        url.set_path(&name);
        Self { url: url.into(), admin: admin.to_owned(), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut server = PgConnection::establish(&self.admin).unwrap();
        drop(server.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)));
    }
}

/// Transactions per second of this script in `callers` sessions. pgbench reports only means, so there are no percentiles.
pub(crate) fn pgbench(url: &str, script: &str, callers: usize, time: Duration) -> f64 {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let seconds = time.as_secs_f64().ceil().to_string();
    let out = Command::new(program("pgbench"))
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &callers.to_string(), "-T", &seconds, "-f"])
        .arg(file.path())
        .arg(url)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let after =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split(' ').next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let rate = number(after("tps = "));
    rate.unwrap_or_else(|| panic!("pgbench: {text} {}", String::from_utf8_lossy(&out.stderr)))
}
