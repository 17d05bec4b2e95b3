// What htmx leaves to the page. Without this file, and without htmx, every link and form works as a plain one.

// A part that cannot be had: the browser does it the plain way, and shows its own error when there is one.
// Each form of the dashboard may be sent twice.
document.addEventListener("htmx:error", ({ detail }) => {
  const from = detail?.ctx?.sourceElement;
  if (from instanceof HTMLFormElement) from.submit();
  if (from instanceof HTMLAnchorElement) location.assign(from.href);
});

// A click with a modifier is the browser's: a tab or a window of its own. htmx 4.0.1 takes it, and then does nothing.
const modified = (event) => event.ctrlKey || event.metaKey || event.shiftKey;
document.addEventListener("click", (event) => {
  if (modified(event) && event.target.closest?.("a[hx-get]")) event.stopPropagation();
}, { capture: true });
