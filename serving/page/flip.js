// Movement of a list: elements glide from their old place to the new one (first, last, invert, play).

const DURATION = 420;
const EASING = "cubic-bezier(.2, .7, .2, 1)";

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Run `change`, then let every child of `list` glide to where it is now; new ones fade in. */
export function glide(list, change) {
  if (calm()) {
    change();
    return;
  }
  const before = new Map([...list.children].map((child) => [child, child.getBoundingClientRect()]));
  change();
  for (const child of list.children) {
    const old = before.get(child);
    const now = child.getBoundingClientRect();
    if (old === undefined) {
      child.animate(
        [
          { opacity: 0, transform: "scale(.97)" },
          { opacity: 1, transform: "none" },
        ],
        { duration: DURATION, easing: "ease-out" },
      );
    } else if (old.left !== now.left || old.top !== now.top) {
      const by = `translate(${old.left - now.left}px, ${old.top - now.top}px)`;
      child.animate([{ transform: by }, { transform: "none" }], { duration: DURATION, easing: EASING });
    }
  }
}
