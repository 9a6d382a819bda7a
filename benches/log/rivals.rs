//! SQLite and redb doing the same work in the same rounds.

use std::path::Path;

use infernet_node::log::{Record, frame};
use infernet_state::types::{Hash, Seq};

use crate::Contender;

/// The same work in SQLite: chained events, a row each, one transaction for the batch.
pub(crate) struct Sqlite {
    connection: rusqlite::Connection,
    seq: Seq,
    hash: Hash,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).expect("open SQLite");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE log (seq INTEGER PRIMARY KEY, kind, version, body, hash);",
            )
            .expect("create");
        Self {
            connection,
            seq: Seq(0),
            hash: Hash::ZERO,
        }
    }
}

impl Contender for Sqlite {
    fn commit(&mut self, batch: &[Record]) {
        let transaction = self.connection.transaction().expect("begin");
        let mut insert = transaction
            .prepare_cached("INSERT INTO log VALUES (?, ?, ?, ?, ?)")
            .expect("prepare");
        for Record { event, .. } in batch {
            self.seq = Seq(self.seq.0 + 1);
            self.hash = frame::chain_event(&self.hash, self.seq, event);
            let seq = i64::try_from(self.seq.0).expect("small");
            insert
                .execute((seq, event.kind, event.version, &event.body, &self.hash.0))
                .expect("insert");
        }
        drop(insert);
        transaction.commit().expect("commit");
    }
}

/// The same work in redb: chained events, a row each, one durable transaction for the batch.
pub(crate) struct Redb {
    database: redb::Database,
    seq: Seq,
    hash: Hash,
}

/// Position to frame and chain hash.
const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

impl Redb {
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            database: redb::Database::create(path).expect("create redb"),
            seq: Seq(0),
            hash: Hash::ZERO,
        }
    }
}

impl Contender for Redb {
    fn commit(&mut self, batch: &[Record]) {
        let transaction = self.database.begin_write().expect("begin");
        let mut table = transaction.open_table(TABLE).expect("table");
        let mut row = Vec::new();
        for Record { event, .. } in batch {
            self.seq = Seq(self.seq.0 + 1);
            self.hash = frame::chain_event(&self.hash, self.seq, event);
            row.clear();
            row.extend_from_slice(&self.hash.0);
            frame::encode(event, &mut row).expect("within bounds");
            table.insert(self.seq.0, row.as_slice()).expect("insert");
        }
        drop(table);
        transaction.commit().expect("commit");
    }
}
