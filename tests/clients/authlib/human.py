"""A human with a browser, as far as it matters: keeps one cookie, looks at the page, and presses a button."""

import re
from urllib.parse import urljoin

import requests


class Human:
    def __init__(self, base: str, session: str) -> None:
        self.base = base
        self.browser = requests.Session()
        self.browser.cookies.set("portreeve_session", session)

    def opens(self, url: str) -> requests.Response:
        return self.browser.get(urljoin(self.base, url), allow_redirects=False)

    def answers(self, url: str, button: str = "allow") -> str:
        """Answers what a client asks; where the browser is sent then."""
        sent = self.opens(url)
        assert sent.status_code == 303, sent.text
        page = sent.headers["location"]
        assert page.startswith("/consent/"), page
        shown = self.opens(page)
        assert shown.status_code == 200, shown.text
        scopes = re.findall(r'name="scope" value="([^"]+)"', shown.text)
        pressed = self.browser.post(
            urljoin(self.base, f"{page}/{button}"), data={"scope": scopes}, headers={"origin": self.base}, allow_redirects=False
        )
        assert pressed.status_code == 303, pressed.text
        return pressed.headers["location"]
