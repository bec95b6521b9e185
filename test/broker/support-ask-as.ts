import { connect } from 'node:net';

/*
 * A process of another user that asks a broker: becomes the user with the number argv[2], connects to the socket argv[3],
 * and prints what it is told. Everything is loaded before, since that user may not be able to read it.
 */

const [uid, socket] = [Number(process.argv[2]), process.argv[3]!];
process.setgroups!([]);
process.setgid!(uid);
process.setuid!(uid);
const connection = connect(socket);
connection.on('error', (error) => {
  process.stderr.write(error.message);
  process.exit(1);
});
connection.pipe(process.stdout);
