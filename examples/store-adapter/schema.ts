/** What is in the file. Seconds are Unix time: of messages in first, last and due; of the machine in all others. */
export const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA busy_timeout = 10000;

  CREATE TABLE IF NOT EXISTS traces (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    trace TEXT NOT NULL,
    forget_at REAL, -- NULL while a generation of it is held
    UNIQUE (project, trace)
  );
  CREATE INDEX IF NOT EXISTS forgetting ON traces (forget_at) WHERE forget_at IS NOT NULL;

  -- Highest offset that a trace has taken of a source and partition.
  CREATE TABLE IF NOT EXISTS taken (
    trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE,
    source TEXT NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (trace, source, partition)
  ) WITHOUT ROWID;

  CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY,
    trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE,
    name TEXT NOT NULL, -- id of its root
    root_seen INTEGER NOT NULL DEFAULT 0,
    next_generation INTEGER NOT NULL DEFAULT 1
  );
  CREATE INDEX IF NOT EXISTS segments_of_trace ON segments (trace);

  -- Which segment a span id belongs to: spans that came, and parents that may still come.
  CREATE TABLE IF NOT EXISTS places (
    trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE,
    span TEXT NOT NULL,
    segment INTEGER NOT NULL REFERENCES segments ON DELETE CASCADE,
    PRIMARY KEY (trace, span)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS places_of_segment ON places (segment);

  CREATE TABLE IF NOT EXISTS generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a late flusher may still have it
    trace INTEGER NOT NULL REFERENCES traces,
    segment INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    spans INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    first REAL NOT NULL,
    last REAL NOT NULL,
    due REAL NOT NULL DEFAULT 0,
    due_reason TEXT NOT NULL DEFAULT 'idle',
    held_until REAL NOT NULL,
    -- NULL while it is live
    number INTEGER,
    name TEXT,
    reason TEXT,
    root_seen INTEGER,
    -- Who has it, and until when
    lease TEXT,
    leased_until REAL,
    tries INTEGER NOT NULL DEFAULT 0,
    tried_with TEXT,
    parked_reason TEXT,
    parked_at REAL
  );
  CREATE UNIQUE INDEX IF NOT EXISTS live ON generations (segment) WHERE number IS NULL;
  CREATE INDEX IF NOT EXISTS generations_of_trace ON generations (trace);
  CREATE INDEX IF NOT EXISTS queue ON generations (shard, due);

  CREATE TABLE IF NOT EXISTS spans (
    generation INTEGER NOT NULL REFERENCES generations ON DELETE CASCADE,
    span TEXT NOT NULL,
    parent TEXT NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER,
    source TEXT,
    payload BLOB NOT NULL,
    place_a INTEGER,
    place_b INTEGER
  );
  CREATE INDEX IF NOT EXISTS spans_of_generation ON spans (generation);

  -- How often a shard was taken from: whose turn it is.
  CREATE TABLE IF NOT EXISTS turns (shard INTEGER PRIMARY KEY, taken INTEGER NOT NULL);
`;
