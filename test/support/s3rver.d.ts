/** What of the package the tests use; it has no types of its own. */
declare module "@20minutes/s3rver" {
  interface S3rverOptions {
    readonly address: string;
    readonly port: number;
    readonly silent: boolean;
    readonly directory: string;
    readonly configureBuckets: readonly { readonly name: string }[];
  }

  interface Server {
    run(): Promise<{ readonly address: string; readonly port: number }>;
    close(): Promise<void>;
  }

  const S3rver: new (options: S3rverOptions) => Server;

  // biome-ignore lint/style/noDefaultExport: the package has its class as that.
  export { S3rver as default };
}
