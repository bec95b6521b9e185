/** Sizes in bytes of the scalar types a layout may hold. */
const SCALAR_BYTES = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

export type Scalar = keyof typeof SCALAR_BYTES;

/** A structure's size and the byte offset of each field. */
export interface Layout<Field extends string> {
  readonly bytes: number;
  readonly offset: { readonly [F in Field]: number };
}

/**
 * Lays out a structure as C does on LP64: fields in order, each aligned to its own size, the whole padded to the
 * widest. Everything shared between two ends of a queue or socket is described this way, once.
 */
export function layout<Field extends string>(fields: { readonly [F in Field]: Scalar }): Layout<Field> {
  const offset = {} as Record<Field, number>;
  let end = 0;
  let widest = 1;
  for (const [name, type] of Object.entries(fields) as [Field, Scalar][]) {
    const size = SCALAR_BYTES[type];
    end = Math.ceil(end / size) * size;
    offset[name] = end;
    end += size;
    widest = Math.max(widest, size);
  }
  return { bytes: Math.ceil(end / widest) * widest, offset };
}
