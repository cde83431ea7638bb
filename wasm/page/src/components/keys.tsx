import { t } from "../i18n";
import { Dialog } from "./dialog";

export function Keys() {
  const rows = [
    ["Enter", t("keySend")],
    ["Shift Enter", t("keyNewline")],
    ["Esc", t("keyStop")],
    ["/", t("keyFocus")],
    ["Alt N", t("keyNew")],
    ["Alt T", t("keyTokens")],
    ["↑", t("keyEditLast")],
    ["?", t("keyHelp")],
  ] as const;
  return (
    <Dialog name="keys" title={t("keysTitle")}>
      <table class="keys">
        <tbody>
          {rows.map(([keys, text]) => (
            <tr key={keys}>
              <th scope="row">
                {keys.split(" ").map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </th>
              <td>{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}
