/** Line icons, 20 by 20, in the colour of the text. */
const paths = {
  plus: "M10 4v12M4 10h12",
  menu: "M3.5 5.5h13M3.5 10h13M3.5 14.5h8",
  close: "M5 5l10 10M15 5L5 15",
  send: "M10 16V4M5 9l5-5 5 5",
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l.8-3.6L13 4.2a1.6 1.6 0 0 1 2.3 0l.5.5a1.6 1.6 0 0 1 0 2.3L7.6 15.2z",
  retry: "M15.5 8A6 6 0 1 0 16 11M16 4v4h-4",
  tokens: "M3 5h5v4H3zM11 5h6v4h-6zM3 12h8v4H3zM14 12h3v4h-3z",
  gear: "M4 6h7M15 6h1M4 14h1M9 14h7M13 4v4M7 12v4",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  lock: "M5 9h10v7H5zM7 9V7a3 3 0 0 1 6 0v2",
  file: "M6 3h5.5L15 6.5V17H6zM11 3v4h4",
  save: "M10 3v9M6 9l4 4 4-4M4 16h12",
  model: "M10 3l6 3.5v7L10 17l-6-3.5v-7zM4 6.5l6 3.5 6-3.5M10 10v7",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  play: "M7 5l8 5-8 5z",
} as const;

export type IconName = keyof typeof paths | "stop";

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
      {name === "stop" ? <rect x="5.5" y="5.5" width="9" height="9" rx="1.5" class="filled" /> : <path d={paths[name]} />}
    </svg>
  );
}
