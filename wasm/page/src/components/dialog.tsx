import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { panel, type Panel } from "../ui";
import { Icon } from "./icons";

/** A modal panel: the browser's own dialog keeps the focus inside, closes on Escape and gives the focus back. */
export function Dialog({ name, title, side, children }: { name: Panel; title: string; side?: boolean; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const close = () => {
    if (panel.value === name) panel.value = null;
  };
  return (
    <dialog
      ref={dialog}
      class={side ? "side" : ""}
      aria-labelledby={`${name}-title`}
      onClose={close}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div class="dialog-body">
        <header>
          <h2 id={`${name}-title`}>{title}</h2>
          <button type="button" class="quiet" onClick={() => dialog.current?.close()} aria-label={t("close")} title={t("close")}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
