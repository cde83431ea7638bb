import { useSignal } from "@preact/signals";
import { current, newConversation, openConversation, removeConversation, rename, summaries, live } from "../chat";
import { t } from "../i18n";
import { refused } from "../store";
import type { Summary } from "../types";
import { closeSidebarIfOver, focusMessage, panel, sidebar, toggleSidebar } from "../ui";
import { Icon } from "./icons";

export function Sidebar() {
  if (!sidebar.value) return null;
  return (
    <>
      <div class="scrim" onClick={() => toggleSidebar(false)} />
      <nav class="sidebar" aria-label={t("conversations")}>
        <div class="brand">
          <span class="wordmark">
            <img src="./icon.svg" alt="" width="26" height="26" />
            pyedge
          </span>
          <button type="button" class="quiet" onClick={() => toggleSidebar(false)} aria-label={t("closeConversations")} title={t("closeConversations")}>
            <Icon name="left" />
          </button>
        </div>
        <button
          type="button"
          class="new"
          onClick={() => {
            newConversation();
            closeSidebarIfOver();
            focusMessage();
          }}
        >
          <Icon name="plus" />
          {t("newChat")}
        </button>
        {summaries.value.length ? (
          <ul class="conversations">
            {summaries.value.map((entry) => (
              <Entry key={entry.id} entry={entry} />
            ))}
          </ul>
        ) : (
          <p class="faint pad">{t("noConversations")}</p>
        )}
        {refused.value && <p class="faint pad">{t("refusedStorage")}</p>}
        <div class="sidebar-foot">
          <button type="button" class="quiet wide" onClick={() => (panel.value = "settings")}>
            <Icon name="gear" /> {t("settings")}
          </button>
          <button type="button" class="quiet wide" onClick={() => (panel.value = "keys")}>
            <kbd aria-hidden="true">?</kbd> {t("keys")}
          </button>
        </div>
      </nav>
    </>
  );
}

function Entry({ entry }: { entry: Summary }) {
  const renaming = useSignal(false);
  const title = entry.title || t("untitled");
  const here = entry.id === current.value.id;
  const finish = (value: string | null) => {
    renaming.value = false;
    if (value?.trim()) rename(entry.id, value.trim());
  };
  if (renaming.value)
    return (
      <li>
        <input
          class="rename"
          aria-label={t("title")}
          defaultValue={entry.title}
          ref={(input) => input?.focus()}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.isComposing) finish(event.currentTarget.value);
            if (event.key === "Escape") finish(null);
          }}
          onBlur={(event) => finish(event.currentTarget.value)}
        />
      </li>
    );
  return (
    <li class={here ? "here" : ""}>
      <button
        type="button"
        class="entry"
        aria-current={here ? "page" : undefined}
        title={title}
        onClick={() => {
          void openConversation(entry.id);
          closeSidebarIfOver();
        }}
        onDblClick={() => (renaming.value = true)}
      >
        <span>{title}</span>
        {live.value?.conversation === entry.id && <i class="dot" />}
      </button>
      <span class="entry-actions">
        <button type="button" class="quiet small" aria-label={t("renameNamed", { title })} title={t("rename")} onClick={() => (renaming.value = true)}>
          <Icon name="edit" />
        </button>
        <button type="button" class="quiet small" aria-label={t("removeNamed", { title })} title={t("remove")} onClick={() => void removeConversation(entry.id)}>
          <Icon name="trash" />
        </button>
      </span>
    </li>
  );
}
