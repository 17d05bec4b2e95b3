//! Stage 12: a one-use link for the human; another one the agent follows itself, to see that the page tells the truth.

use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::super::agent::{Ask, Party, Stopped};
use super::money::Budget;
use super::{Walk, body, ensure, noted};
use crate::money::Amount;
use crate::secret::Secret;

#[derive(Deserialize)]
struct DeepLink {
    url: String,
}

impl Walk<'_> {
    /// Gives the link that nobody has opened.
    pub(super) async fn look_at_the_dashboard(&mut self, token: &Secret, budget: &Budget) -> Result<String, Stopped> {
        self.agent.stage();
        let ask = self.link_ask(token, "own-link").keep("LINK", ".url | split(\"/\") | last");
        let own = self.deep_link(ask, "LINK", "a one-use link, for the agent to try").await?;
        self.open_the_link(&own, budget).await?;
        let human = self.deep_link(self.link_ask(token, "link"), "HUMAN_LINK", "another one, for the human").await?;
        Ok(human.to_string())
    }

    fn link_ask(&self, token: &Secret, what: &str) -> Ask {
        self.at_provider("POST", "/v1/deep-links", 201).bearer(token).key(&self.key(what)).json(&json!({}))
    }

    /// Asks for a link, whose secret is known as `name` from then on.
    pub(super) async fn deep_link(&mut self, ask: Ask, name: &'static str, note: &str) -> Result<Url, Stopped> {
        let origin = self.provider.origin();
        let url: Url = self
            .agent
            .take(ask, |answer| {
                let link: DeepLink = body(answer)?;
                let url: Url = link.url.parse().map_err(|_bad| "the link is not a URL".to_owned())?;
                ensure(url.origin() == origin, "the link leads to another origin")?;
                ensure(url.path().starts_with("/d/"), "the link does not lead to /d/")?;
                Ok((url, note.to_owned()))
            })
            .await?;
        self.agent.learn(name, &Secret::presented(url.path().trim_start_matches("/d/")));
        Ok(url)
    }

    async fn open_the_link(&mut self, link: &Url, budget: &Budget) -> Result<(), Stopped> {
        let get = Ask::new(Party::Provider, "GET", link.clone(), 200);
        self.agent.take(get, |_| noted("looking does not use it up")).await?;
        let cookie = self.use_the_link(link, "SESSION").await?;
        let again = self.link_use(link).expecting(410).or(404).or(400).or(403).or(409);
        self.agent.take(again, |_| noted("and once only")).await?;
        self.read_the_page(cookie, budget.spent, budget).await
    }

    /// What the button of the link's page sends.
    fn link_use(&self, link: &Url) -> Ask {
        let origin = self.provider.origin().ascii_serialization();
        let post = Ask::new(Party::Provider, "POST", link.clone(), 303);
        post.header("origin", origin).header("sec-fetch-site", "same-origin")
    }

    /// Uses the link; gives the session's cookie, whose value is known as `name` from then on.
    pub(super) async fn use_the_link(&mut self, link: &Url, name: &'static str) -> Result<String, Stopped> {
        let post = self.link_use(link).keep_cookie(name, "portreeve_session");
        let cookie = self
            .agent
            .take(post, |answer| {
                ensure(answer.header("location").is_some_and(|to| to.ends_with("/dashboard")), "it leads elsewhere")?;
                let cookie =
                    answer.headers("set-cookie").into_iter().find(|cookie| cookie.contains("portreeve_session="));
                let cookie = cookie.ok_or("there is no session cookie")?;
                ensure(cookie.to_ascii_lowercase().contains("httponly"), "the session cookie is not HttpOnly")?;
                let pair = cookie.split(';').next().unwrap_or("").to_owned();
                Ok((pair, "signed in".to_owned()))
            })
            .await?;
        if let Some((_, value)) = cookie.split_once('=') {
            self.agent.learn(name, &Secret::presented(value));
        }
        Ok(cookie)
    }

    /// The page of this session says that so much is spent, of as much as the budget allows.
    pub(super) async fn read_the_page(&mut self, cookie: String, spent: Amount, cap: &Budget) -> Result<(), Stopped> {
        let page = self.at_provider("GET", "/dashboard", 200).header("cookie", cookie);
        let sentence = format!("{} of {} spent", cap.money(spent), cap.money(cap.ceiling));
        self.agent
            .take(page, |answer| {
                let text = visible_text(&String::from_utf8_lossy(&answer.body));
                ensure(text.contains(&sentence), format!("the page does not say \"{sentence}\""))?;
                noted(format!("the page says \"{sentence}\""))
            })
            .await
    }
}

/// The text between the tags of a page, with single spaces.
fn visible_text(page: &str) -> String {
    let mut text = String::new();
    for (number, part) in page.split('<').enumerate() {
        let shown = if number == 0 { part } else { part.split_once('>').map_or("", |(_, shown)| shown) };
        text.push_str(shown);
    }
    let text = text.replace("&nbsp;", " ").replace("&#36;", "$").replace('\u{a0}', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_through_its_tags() {
        let page = "<p><strong>$41.20</strong>\n of&nbsp;<b class=\"x\">$100.00</b> spent,</p>";
        assert_eq!(visible_text(page), "$41.20 of $100.00 spent,");
    }
}
