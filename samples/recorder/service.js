'use strict';

const { stopTracing } = require('./tracing');

/**
 * Serves `app` on a free loopback port, tells the recorder the port, and stops when it says so: no more requests,
 * then `beforeExit` (background work), then the last spans.
 */
function serve(app, { beforeExit }) {
  const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

  process.on('message', async () => {
    server.close();
    server.closeIdleConnections();
    await beforeExit();
    process.send({ spans: await stopTracing() });
    process.disconnect();
  });

  // All is delivered, or the recorder is gone and nothing can be.
  process.on('disconnect', () => process.exit());
}

/** An error that the client of a route should see as this status. */
class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The last handler of each app. Express knows an error handler by its four parameters. */
function errorHandler(error, _req, res, _next) {
  res.status(error.status ?? 500).json({ error: error.status ? error.message : 'internal error' });
}

module.exports = { HttpError, errorHandler, serve };
