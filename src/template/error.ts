/** What a template that cannot be read or rendered gives. */
import { AppError } from "../core/errors.ts";

const SHOWN_LENGTH_MAX = 120;

/** Names the template (shortened) and the cause. `kind` invalid, `code` TEMPLATE_ERROR. */
export class TemplateError extends AppError {
  override readonly name = "TemplateError";
  /** The cause alone, without the template's text. */
  readonly reason: string;
  /** True: it would have read more than may be loaded. */
  readonly isLimit: boolean;

  constructor(template: string, reason: string, options: { readonly cause?: unknown } = {}) {
    super("invalid", "TEMPLATE_ERROR", `Cannot render ${shorten(template)}: ${reason}`, options);
    this.reason = reason;
    this.isLimit = options.cause instanceof TemplateLimitFault;
  }
}

/** Thrown while a template is read or rendered, where its whole text is not at hand. */
export class TemplateFault extends Error {
  override readonly name = "TemplateFault";
}

/** The template looks into a stored value that is too large to be loaded here. */
export class TemplateLimitFault extends TemplateFault {}

function shorten(template: string): string {
  const text = template.trim().replaceAll(/\s+/g, " ");
  return text.length <= SHOWN_LENGTH_MAX ? `"${text}"` : `"${text.slice(0, SHOWN_LENGTH_MAX)} …"`;
}
