// Passkeys. Without this file, or in a browser without them, the other ways to log in work.

const possible = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON
  && PublicKeyCredential.parseCreationOptionsFromJSON;

const post = async (path, body) => {
  const answer = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json", accept: "application/json" }, body: JSON.stringify(body),
  });
  if (answer.headers.get("content-type")?.startsWith("text/html")) {
    // A page: a log-in is needed first.
    location.assign(`/login?to=${encodeURIComponent(location.pathname)}&max_age=300`);
    return new Promise(() => {});
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? "That did not work.");
  return told;
};

const ways = {
  async ask(form) {
    const { step, options } = await post("/login/passkey/begin", { to: form.dataset.to });
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey);
    const credential = await navigator.credentials.get({ publicKey });
    return post("/login/passkey/finish", { step, credential: credential.toJSON() });
  },
  async add(form) {
    const { step, options } = await post("/dashboard/passkeys/begin", {});
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey);
    const credential = await navigator.credentials.create({ publicKey });
    return post("/dashboard/passkeys/finish", { step, name: form.elements.name.value, credential: credential.toJSON() });
  },
  async claim(form) {
    const { step, options } = await post("/claim/passkey/begin", {});
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey);
    const credential = await navigator.credentials.create({ publicKey });
    form.elements.step.value = step;
    form.elements.credential.value = JSON.stringify(credential.toJSON());
    form.submit(); // With the ticks: one form, one answer.
    return new Promise(() => {});
  },
};

for (const form of possible ? document.querySelectorAll("form[data-passkey]") : []) {
  const part = form.parentElement;
  const problem = part.querySelector("[data-passkey-problem]");
  form.hidden = false;
  part.querySelector("[data-passkey-absent]").hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const { onward } = await ways[form.dataset.passkey](form);
      location.assign(onward);
    } catch (error) {
      // Whoever changes their mind, or has no passkey here, is told nothing that a page could not know.
      problem.textContent = error.name === "NotAllowedError" ? "No passkey was used." : error.message;
      problem.hidden = false;
      button.disabled = false;
      button.focus();
    }
  });
}
