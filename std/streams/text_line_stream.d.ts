/** The part of `@std/streams/text-line-stream` that this project uses. */
export declare class TextLineStream extends TransformStream<string, string> {
  constructor(options?: { allowCR?: boolean });
}
