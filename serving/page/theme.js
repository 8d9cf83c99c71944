// Runs before the first paint, so that a stored choice of light or dark never flashes.
// A page without a choice follows prefers-color-scheme.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Storage is off: follow the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
