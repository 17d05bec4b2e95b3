//! Mail: one message to one address, by SMTP or into a folder.
//!
//! Promises: what is asked for inside a transaction is sent when it was committed, and tried again when it could not be;
//! several processes never send one letter at once. Refuses: an address that is none, and control characters in headers.

mod store;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, Message};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Timestamp;
use crate::ids::OutboxEventId;
use crate::unseen::unseen;

pub use store::{Letter, claim, due, post, record};

/// How long the server may take for one message.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest line of a mail, in characters (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;
/// The longest subject, in characters.
const MAX_SUBJECT: usize = 200;

/// A message to one address.
pub struct Mail {
    to: Address,
    subject: String,
    text: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail(****)")
    }
}

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMail {
    /// The receiver.
    #[error("the receiver is no address that mail can be sent to")]
    Receiver,
    /// The subject.
    #[error("the subject has characters that a header must not have, or is too long")]
    Subject,
}

/// Whether mail can be sent to what is written here.
#[must_use]
pub fn is_addressable(address: &str) -> bool {
    receiver(address).is_ok()
}

fn receiver(to: &str) -> Result<Address, InvalidMail> {
    if to.chars().any(char::is_control) {
        return Err(InvalidMail::Receiver);
    }
    to.parse().map_err(|_not_an_address| InvalidMail::Receiver)
}

impl Mail {
    /// A message of plain text.
    ///
    /// # Errors
    /// When `to` is no address, or a header would hold control characters: a line break there is another header.
    pub fn new(to: &str, subject: &str, text: String) -> Result<Self, InvalidMail> {
        let to = receiver(to)?;
        if unseen(subject).is_some() || subject.chars().count() > MAX_SUBJECT {
            return Err(InvalidMail::Subject);
        }
        Ok(Self { to, subject: subject.to_owned(), text })
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It never will be.
    #[error("the mail server refuses it: {0}")]
    Refused(String),
    /// Worth trying again.
    #[error("it could not be sent: {0}")]
    Failed(String),
    /// Nothing is configured that sends mail.
    #[error("no mail is sent here: neither `mail.smtp_url` nor `mail.folder` is set")]
    Off,
}

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The server's address. It may hold a password, so it is not repeated.
    #[error("`mail.smtp_url` is not like smtps://USER:PASSWORD@HOST or smtp://HOST:587?tls=required")]
    Url,
    /// The sender.
    #[error("`mail.from` is not like desk@acme.example")]
    From,
    /// The folder.
    #[error("`mail.folder`: {} cannot be made", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
}

/// Sends messages.
#[derive(Clone)]
pub struct Mailer {
    from: Mailbox,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
    Off,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.way {
            Way::Smtp(_) => "smtp",
            Way::Folder(_) => "folder",
            Way::Off => "off",
        };
        f.debug_struct("Mailer").field("way", &way).finish_non_exhaustive()
    }
}

impl Mailer {
    /// By SMTP when `smtp_url` is given; else into `folder`, one `.eml` file each; else not at all. The sender is `name`
    /// at the address `from`.
    ///
    /// # Errors
    /// See [`MailerError`].
    pub fn new(
        smtp_url: &SecretString,
        folder: Option<&Path>,
        (name, from): (&str, &str),
    ) -> Result<Self, MailerError> {
        let address = from.parse().map_err(|_not_an_address| MailerError::From)?;
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let way = match (smtp_url.expose_secret(), folder) {
            ("", None) => Way::Off,
            ("", Some(folder)) => {
                std::fs::create_dir_all(folder).map_err(|error| MailerError::Folder(folder.to_owned(), error))?;
                Way::Folder(folder.to_owned())
            }
            (url, _) => {
                let built = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
                Way::Smtp(built.map_err(|_not_a_url| MailerError::Url)?.timeout(Some(TIMEOUT)).build())
            }
        };
        Ok(Self { from: Mailbox::new(Some(name), address), way })
    }

    /// Whether anything is sent at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !matches!(self.way, Way::Off)
    }

    /// The folder that messages are written to, when they are.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.way {
            Way::Folder(folder) => Some(folder),
            Way::Smtp(_) | Way::Off => None,
        }
    }

    /// Sends one message. `id` names it, so that a receiver can tell one that comes twice.
    ///
    /// # Errors
    /// See [`MailError`].
    pub async fn send(&self, mail: Mail, id: &OutboxEventId, now: Timestamp) -> Result<(), MailError> {
        let message = self.message(mail, id, now)?;
        match &self.way {
            Way::Smtp(server) => match server.send(message).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_permanent() => Err(MailError::Refused(error.to_string())),
                Err(error) => Err(MailError::Failed(error.to_string())),
            },
            Way::Folder(folder) => {
                let path = folder.join(format!("{id}.eml"));
                let written = tokio::task::spawn_blocking(move || write(&path, &message.formatted())).await;
                let written = written.map_err(|error| MailError::Failed(error.to_string()))?;
                written.map_err(|error| MailError::Failed(error.to_string()))
            }
            Way::Off => Err(MailError::Off),
        }
    }

    fn message(&self, mail: Mail, id: &OutboxEventId, now: Timestamp) -> Result<Message, MailError> {
        let refused = |error: &dyn fmt::Display| MailError::Refused(error.to_string());
        let at = u64::try_from(now.seconds()).map_err(|error| refused(&error))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to))
            .subject(mail.subject)
            .date(std::time::UNIX_EPOCH + Duration::from_secs(at))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(plain(&mail.text))
            .map_err(|error| refused(&error))
    }
}

/// As it is where that can be, so that a link can be copied out of the raw mail; else encoded.
fn plain(text: &str) -> Body {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    if text.is_ascii() && text.lines().all(|line| line.len() <= MAX_LINE) {
        Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text)
    }
}

/// Whole or not at all: whoever waits for the file never reads half of it. It holds a log-in link: for its owner alone.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let unfinished = path.with_extension("unfinished");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_never_becomes_a_header() {
        assert!(Mail::new("ada@example.test", "Log in", String::new()).is_ok());
        for to in [
            "ada@example.test\r\nBcc: eve@evil.example",
            "ada@example.test\nx",
            "ada@example.test, eve@evil.example",
            "<ada@example.test>",
            "Ada <ada@example.test>",
            "ada@example.test\u{0}",
            "ada",
            "",
        ] {
            assert_eq!(Mail::new(to, "Log in", String::new()).unwrap_err(), InvalidMail::Receiver, "{to:?}");
        }
        for subject in ["a\r\nBcc: eve@evil.example", "a\nb", "a\rb", "a\u{202e}b", "a\u{0}"] {
            let refused = Mail::new("ada@example.test", subject, String::new()).unwrap_err();
            assert_eq!(refused, InvalidMail::Subject, "{subject:?}");
        }
    }

    #[tokio::test]
    async fn a_message_is_a_file_for_its_owner_alone_and_text_stays_text() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let none = SecretString::from(String::new());
        let sender = ("Acme\r\nBcc: eve@evil.example", "desk@acme.example");
        let mailer = Mailer::new(&none, Some(folder.path()), sender).unwrap();
        let now = Timestamp::from_seconds(1_800_000_000);
        let id = OutboxEventId::new(now);
        let link = format!("https://desk.example/login/link/{}", "x".repeat(100));
        let text = format!("Hello\r\n\r\nSubject: not a header\r\n{link}\r\n");
        mailer.send(Mail::new("ada@example.test", "Log in at Äcme", text).unwrap(), &id, now).await.unwrap();
        let path = folder.path().join(format!("{id}.eml"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let written = std::fs::read_to_string(&path).unwrap();
        let (head, body) = written.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc") || line.ends_with("not a header")), "{head}");
        assert!(head.contains("To: ada@example.test") && head.contains("desk@acme.example"), "{head}");
        assert!(body.contains(&link), "a link can be copied from the raw file: {body}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A mail server for one message, which answers `verdict` to its content. Gives back what it heard.
    async fn server(verdict: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut heard, mut in_data) = (String::new(), false);
            stream.write_all(b"220 here\r\n").await.unwrap();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    return heard;
                }
                heard.push_str(&line);
                let answer = match line.trim_end() {
                    "." if in_data => {
                        in_data = false;
                        verdict
                    }
                    _ if in_data => continue,
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 fine",
                };
                stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            }
        });
        (url, heard)
    }

    #[tokio::test]
    async fn a_message_goes_by_smtp_to_its_one_receiver_and_a_refusal_is_told_from_a_failure() {
        let now = Timestamp::from_seconds(1_800_000_000);
        for (verdict, expected) in [("250 taken", "sent"), ("451 later", "failed"), ("550 never", "refused")] {
            let (url, heard) = server(verdict).await;
            let mailer = Mailer::new(&SecretString::from(url), None, ("Acme", "desk@acme.example")).unwrap();
            let mail = Mail::new("ada@example.test", "Log in", "Hello\r\n.\r\nRCPT TO:<eve@evil.example>\r\n".into());
            let ended = match mailer.send(mail.unwrap(), &OutboxEventId::new(now), now).await {
                Ok(()) => "sent",
                Err(MailError::Failed(_)) => "failed",
                Err(MailError::Refused(_) | MailError::Off) => "refused",
            };
            assert_eq!(ended, expected, "{verdict}");
            drop(mailer);
            let heard = heard.await.unwrap();
            assert!(heard.contains("RCPT TO:<ada@example.test>") && heard.contains("\r\n..\r\n"), "{heard}");
            assert_eq!(heard.lines().filter(|line| line.starts_with("MAIL FROM:<desk@acme.example>")).count(), 1);
        }
        let nobody = SecretString::from("smtp://127.0.0.1:1".to_owned());
        let mailer = Mailer::new(&nobody, None, ("Acme", "desk@acme.example")).unwrap();
        let mail = Mail::new("ada@example.test", "Log in", String::new()).unwrap();
        assert!(matches!(mailer.send(mail, &OutboxEventId::new(now), now).await, Err(MailError::Failed(_))));
    }

    #[test]
    fn what_is_configured_wrong_is_told_without_the_password() {
        let of = |url: &str, from: &str| Mailer::new(&SecretString::from(url.to_owned()), None, ("Acme", from));
        let told = of("smtps//desk:hunter2@mail.example", "desk@acme.example").unwrap_err().to_string();
        assert!(told.contains("mail.smtp_url") && !told.contains("hunter2"), "{told}");
        assert!(matches!(of("", "desk"), Err(MailerError::From)));
        assert!(!of("", "desk@acme.example").unwrap().is_on());
        let on = of("smtps://desk:hunter2@mail.example", "desk@acme.example").unwrap();
        assert!(on.is_on() && !format!("{on:?}").contains("hunter2"));
    }
}
