/** Files that are imported as text, `with { type: "text" }`, and so are part of the binary. */
declare module "*.yaml" {
  const text: string;
  export default text;
}
