import { useSignal } from "@preact/signals";
import { t } from "../i18n";
import { tell } from "../notices";
import { Icon } from "./icons";

/** Copies a text, and says so for a moment. */
export function CopyButton({ text, label }: { text: string; label?: string }) {
  const done = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      done.value = true;
      setTimeout(() => (done.value = false), 1600);
    } catch {
      tell(t("copyRefused"));
    }
  };
  const name = done.value ? t("copied") : (label ?? t("copy"));
  return (
    <button type="button" class="quiet" onClick={() => void copy()} title={name} aria-label={name}>
      <Icon name={done.value ? "check" : "copy"} />
    </button>
  );
}
