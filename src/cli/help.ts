/** The words of `--help`. */

const ENVIRONMENT = `environment:
  WARPDRIVE_DEVICE           the device to open (embedded)
  WARPDRIVE_ENGINES          the most engine threads (as many as processors)
  WARPDRIVE_DISABLE_ENGINES  engines not to use, with commas: isa-l,libdeflate,zstd,lz4...
  WARPDRIVE_SPIN_US          how long an idle engine polls before it sleeps (100)
`;

export const OVERVIEW = `usage: warpdrive COMMAND [OPTIONS]

commands:
  compress [FILES]     compress files, or standard input to standard output
  decompress [FILES]   decompress them
  encrypt [FILES]      encrypt files, with a passphrase or a key
  decrypt [FILES]      decrypt them
  hash [FILES]         print digests, or check a list of them, as sha256sum does
  checksum [FILES]     print checksums, or check a list of them
  devices [--json]     list devices and their engines
  inspect DEVICE       show what a vfio-user or VFIO device is, whoever wrote it
  vfio list            show PCI devices, and which of them programs can drive
  vfio bind ADDRESS    give a device to programs; unbind gives it back
  doctor [DEVICE]      tell what works here, and what to do about what does not
  serve                share one accelerator between processes: the broker
  clients [--json]     list the broker's clients
  bench SUITE          measure this machine
  demo                 show what it does here, in a few seconds
  help COMMAND         tell more about a command

options:
  -h, --help           this text
  -V, --version        the version

${ENVIRONMENT}
exit codes: 0 done, 1 error, 2 warning
`;

const FILE_OPTIONS = `  -c, --stdout         write to standard output, keep the files
  -f, --force          overwrite, follow links, use terminals
  -k, --keep           keep the input files
  -o, --output FILE    write to FILE; "-" is standard output
  -q, --quiet          no warnings, no progress
  -S, --suffix .SUF    the suffix instead of .gz, .zst, .lz4, .br, .zz or .deflate
  -v, --verbose        tell about each file
  -a, --algorithm NAME gzip (by default), zstd, lz4, br, deflate or deflate-raw
  -h, --help           this text
`;

const EXIT_CODES =
  'exit codes: 0 done, 1 error, 2 warning (a file was skipped, or garbage follows its end)\n';

const SEALED_OPTIONS = `      --key-file FILE  a key instead of a passphrase: 32 bytes, or 64 hexadecimal digits
      --passphrase-file FILE  its first line, instead of asking at the terminal;
                       WARPDRIVE_PASSPHRASE does, too
  -c, --stdout         write to standard output, keep the files
  -f, --force          overwrite, follow links, use terminals
  -k, --keep           keep the input files
  -o, --output FILE    write to FILE; "-" is standard output
  -q, --quiet          no warnings, no progress
  -v, --verbose        tell about each file
  -h, --help           this text
`;

const SEALED_EXIT_CODES = 'exit codes: 0 done, 1 error, 2 warning (a file was skipped)\n';

const HELP: Record<string, string> = {
  compress: `usage: warpdrive compress [OPTIONS] [FILES]

Compresses each FILE to FILE.gz (or .zst, .lz4, .br) and removes FILE. Without FILES, or for
"-", compresses standard input to standard output. Files of br have at most 15.75 MiB.

options:
  -1 .. -9             levels 1 to 9; --fast is -1, --best the best of the format
      --level N        gzip, deflate: 0 (stored) to 12, beyond 9 with libdeflate (by default 6);
                       zstd: 1 to 19 (3); lz4: 1 to 12 (1); br: 0 to 11 (6)
  -n, --no-name        store neither name nor time in the gzip header
  -d, --decompress     decompress instead
  -t, --test           check compressed files, write nothing
${FILE_OPTIONS}
${ENVIRONMENT}
${EXIT_CODES}`,
  decompress: `usage: warpdrive decompress [OPTIONS] [FILES]

Decompresses each FILE.gz to FILE and removes FILE.gz; also .zst, .lz4, .br, .zz and .deflate.
Without FILES, or for "-", decompresses standard input to standard output. gzip, zstd and lz4
are known by their first bytes, the others by the name or -a. With -c -f, what is in none of
them is copied.

options:
  -t, --test           check compressed files, write nothing
${FILE_OPTIONS}
${ENVIRONMENT}
${EXIT_CODES}`,
  encrypt: `usage: warpdrive encrypt [OPTIONS] [FILES]

Encrypts each FILE to FILE.wdx and removes FILE. Without FILES, or for "-", encrypts standard
input to standard output. Whoever alters, cuts or extends what it writes is found out when it
is decrypted. The format: docs/encrypted-files.md.

options:
  -a, --algorithm NAME aes-256-gcm (by default) or chacha20-poly1305
      --cost N         of a passphrase: scrypt with 2^N blocks, 10 to 20; by default 17, which
                       takes 128 MiB and some tenths of a second for each file
${SEALED_OPTIONS}
${ENVIRONMENT}
${SEALED_EXIT_CODES}`,
  decrypt: `usage: warpdrive decrypt [OPTIONS] [FILES]

Decrypts each FILE.wdx to FILE and removes FILE.wdx. Without FILES, or for "-", decrypts
standard input to standard output.

An output file appears only once all of it is known to be authentic. A regular file that goes
to standard output is read twice: verified as a whole, then written. From a pipe to standard
output, chunks are written as they turn out to be authentic, and only the exit code tells that
nothing is missing: look at it before you use the output.

A file may ask for at most 1 GiB of memory and some seconds to derive its key; one that asks
for more is refused.

options:
  -t, --test           check encrypted files, write nothing
${SEALED_OPTIONS}
${ENVIRONMENT}
${SEALED_EXIT_CODES}`,
  hash: `usage: warpdrive hash [OPTIONS] [FILES]

Prints a line "HEX  NAME" for each FILE, as sha256sum does. Without FILES, or for "-", reads
standard input. With -c the FILES are lists of such lines, or of those that --tag prints, and
what they name is checked.

options:
  -a, --algorithm NAME sha256 (by default), sha1, sha224, sha384, sha512, sha512-224,
                       sha512-256, sha3-224, sha3-256, sha3-384, sha3-512, blake2b512,
                       blake2s256, sm3 or md5
  -b, --binary         mark names with "*" (files are read the same way with -t, --text)
      --tag            BSD-style lines: "SHA256 (NAME) = HEX"
  -z, --zero           end lines with NUL, and escape no names
  -c, --check          read lists from the FILES and check what they name
      --ignore-missing with -c: pass over files that do not exist
      --quiet          with -c: no line for what is right
      --status         with -c: no lines at all; the exit code tells
      --strict         with -c: a line that is improperly formatted is an error
  -w, --warn           with -c: tell about each such line
  -h, --help           this text

${ENVIRONMENT}
exit codes: 0 done, 1 error, or something differs
`,
  checksum: `usage: warpdrive checksum [OPTIONS] [FILES]

Prints a line "HEX  NAME" for each FILE. Without FILES, or for "-", reads standard input.

options:
  -a, --algorithm NAME crc32 (by default), crc32c, crc64-ecma, adler32, xxh64 or xxh3;
                       the last two take at most 16 MiB
  -c, --check          read such lines from the FILES, and check what they name
  -q, --quiet          with -c, print no line for what is right
  -h, --help           this text

${ENVIRONMENT}
exit codes: 0 done, 1 error, or something differs
`,
  devices: `usage: warpdrive devices [--json]

Lists each device with its queues and engines, and why an engine is absent.

${ENVIRONMENT}`,
  inspect: `usage: warpdrive inspect unix:/path | vfio:0000:00:03.0 [--json]

Connects to a vfio-user device, or opens one that is bound to vfio-pci, and shows what it is:
ids and class, capabilities, regions and what of them can be mapped, wake descriptors,
interrupts, and what was negotiated. A vfio-user device is not changed; hardware is reset by
the kernel, as whenever it is opened. A WarpDrive accelerator also tells its engines.

options:
      --json           all there is to know, for programs
      --allow-unsafe-noiommu
                       open a device that no IOMMU keeps from the memory of others
  -h, --help           this text

exit codes: 0 done, 1 error, 3 no such socket, 4 nobody listens, 5 permission denied,
6 not a vfio-user device, 7 no answer within 5 seconds
`,
  vfio: `usage: warpdrive vfio list [--all] [--json]
       warpdrive vfio bind ADDRESS... [OPTIONS]
       warpdrive vfio unbind ADDRESS... [OPTIONS]

Shows PCI devices with their IOMMU groups, and who else is in them; takes devices from their
drivers and gives them to vfio-pci, so that programs can drive them; gives them back to the
drivers that the kernel chooses. Binding takes root. See docs/vfio.md.

options:
  -a, --all            list bridges, too
  -g, --group          all devices of the IOMMU group: VFIO gets it as a whole or not at all
  -f, --force          even a device whose disk is mounted, whose network interface is up, or
                       that a program has open
      --json           for programs
  -h, --help           this text

exit codes: 0 done, 1 error, 2 bound, but not to be used yet
`,
  doctor: `usage: warpdrive doctor [DEVICE] [--json]

Tells for each way to reach an accelerator whether it works here, what keeps it from working,
and what to do about that. DEVICE is one of them: embedded, unix:/path or vfio:0000:00:03.0.
Nothing is changed.

exit codes: 0 the accelerator that open() takes, or DEVICE, works; 1 it does not
`,
  serve: `usage: warpdrive serve [OPTIONS]

Owns a software accelerator and gives every process that connects to its socket a device
of its own. Runs until SIGTERM or SIGINT; SIGHUP reloads the file. Logs JSON lines to
standard error. What the command line says goes before the file. See docs/broker.md.

options:
      --socket PATH    by default $XDG_RUNTIME_DIR/warpdrive.sock, else
                       /run/warpdrive/warpdrive.sock
      --config FILE    JSON: limits, who may connect, and all that is below
      --check          print what would be in force, and do nothing else
      --engines N      the most engine threads (as many as processors)
      --isolate        a process for each client: a crash in a native library ends that
                       client's device alone; each client has --engines threads
      --max-clients N  the most connections at once (256)
      --mode MODE      permissions of the socket (0660)
      --drain-seconds N  how long stopping waits for what is in flight (10)
      --log-level L    trace, debug, info, warning, error or fatal (info)
      --allow-unsafe-unsealed-memory
                       map memory that its owner can still shrink; doing so kills the broker
  -h, --help           this text

exit codes: 0 stopped by a signal, 1 error, 130 or 143 at once on a second signal
`,
  clients: `usage: warpdrive clients [--socket PATH] [--json]

Lists the clients of a broker with what they hold: one's own, and for root all of them.

options:
      --socket PATH    the broker's socket; the default is that of serve
      --json           all there is to know, for programs
  -h, --help           this text
`,
  bench: `usage: warpdrive bench SUITE [--json] [--quick] [--rows a,b]

Measures this machine. Suites: latency, throughput, cli, syscalls, memory, starvation, idle,
alloc, broker, crossover, kernel-vs-user, stream, small, server, all.

${ENVIRONMENT}`,
  demo: `usage: warpdrive demo

Compresses real text from this machine, as small requests and as files, next to node:zlib,
checks every byte, and prints what it took. Needs no arguments and about ten seconds.

${ENVIRONMENT}`,
  help: `usage: warpdrive help COMMAND

Tells about a command.
`,
};

/** The help text of a command. */
export function helpFor(command: string): string {
  return HELP[command] ?? OVERVIEW;
}
