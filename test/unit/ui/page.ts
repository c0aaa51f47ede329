/** Loads a file of the page. They have no types of their own: TypeScript knows them as texts for the server. */
export async function loadPage<Module>(name: string): Promise<Module> {
  const path = new URL(`../../../src/ui/${name}`, import.meta.url).pathname;
  return (await import(path)) as Module;
}
