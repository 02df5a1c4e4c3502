package contestant

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	"go.etcd.io/bbolt"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
)

// sitarPoll is how often Airbnb's agent has its clients look at SQLite.
const sitarPoll = 10 * time.Second

// stores are databases on the host's disk. They hold the config setting by
// setting, so that a request takes no more than it needs.
var stores = []*Contestant{
	{
		Name: "bbolt", Title: "bbolt, a transaction per read", Module: "go.etcd.io/bbolt",
		Note: "its file lock keeps the writer out while a reader has it open", Publish: publishBolt, Open: openBolt,
	},
	{
		Name: "lmdb", Title: "LMDB, a transaction per read", Module: "github.com/PowerDNS/lmdb-go",
		Note: "exact; through cgo", Publish: publishLMDB, Open: openLMDB,
	},
	{
		Name: "sqlite", Title: "SQLite, a query per read", Module: "github.com/mattn/go-sqlite3",
		Note: "exact; as segmentio/ctlstore does it; through cgo", Publish: publishSQLite, Open: openSQLite,
	},
	{
		Name: "sqlite-cached", Title: "SQLite polled every 10 s, and a map", Module: "github.com/mattn/go-sqlite3",
		Note: "as Airbnb's sitar-agent does it", Publish: publishSQLite, Open: openCachedSQLite,
	},
}

var bucket = []byte(config.Name)

func boltPath(p Place) string { return filepath.Join(p.Dir, "config.bolt") }

func publishBolt(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	put := func(_ context.Context, version int) error {
		db, err := bbolt.Open(boltPath(*p), 0o644, &bbolt.Options{Timeout: time.Second})
		if err != nil {
			return err
		}
		return errors.Join(db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			for _, f := range config.Fields(p.Size, version) {
				if err == nil && (f.Changes || version == 1) {
					err = b.Put([]byte(f.Key), []byte(f.Value))
				}
			}
			return err
		}), db.Close())
	}
	return Source{Put: put, Close: nothing}, put(ctx, 1)
}

func openBolt(_ context.Context, p Place) (*Reader, error) {
	db, err := bbolt.Open(boltPath(p), 0o644, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	key := []byte(config.Key)
	return &Reader{
		Loop: each(func() (v int, err error) {
			err = db.View(func(tx *bbolt.Tx) error {
				v, err = strconv.Atoi(string(tx.Bucket(bucket).Get(key)))
				return err
			})
			return v, err
		}),
		Close: db.Close,
	}, nil
}

func newLMDB(p Place, flags uint) (*lmdb.Env, error) {
	path := filepath.Join(p.Dir, "lmdb")
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	env, err := lmdb.NewEnv()
	if err == nil {
		err = env.SetMapSize(64 << 20)
	}
	if err == nil {
		err = env.Open(path, flags, 0o644)
	}
	return env, err
}

func publishLMDB(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	env, err := newLMDB(*p, 0)
	if err != nil {
		return Source{}, err
	}
	put := func(_ context.Context, version int) error {
		return env.Update(func(txn *lmdb.Txn) error {
			dbi, err := txn.OpenRoot(0)
			for _, f := range config.Fields(p.Size, version) {
				if err == nil && (f.Changes || version == 1) {
					err = txn.Put(dbi, []byte(f.Key), []byte(f.Value), 0)
				}
			}
			return err
		})
	}
	return Source{Put: put, Close: env.Close}, put(ctx, 1)
}

func openLMDB(_ context.Context, p Place) (*Reader, error) {
	env, err := newLMDB(p, lmdb.Readonly)
	if err != nil {
		return nil, err
	}
	var dbi lmdb.DBI
	if err := env.View(func(txn *lmdb.Txn) error {
		dbi, err = txn.OpenRoot(0)
		return err
	}); err != nil {
		return nil, err
	}
	key := []byte(config.Key)
	return &Reader{
		Loop: each(func() (v int, err error) {
			err = env.View(func(txn *lmdb.Txn) error {
				txn.RawRead = true
				text, err := txn.Get(dbi, key)
				if err != nil {
					return err
				}
				v, err = strconv.Atoi(string(text))
				return err
			})
			return v, err
		}),
		Exact: true, Close: env.Close,
	}, nil
}

func openDB(p Place, options string) (*sql.DB, error) {
	return sql.Open("sqlite3", "file:"+filepath.Join(p.Dir, "config.sqlite")+"?"+options)
}

func publishSQLite(ctx context.Context, p *Place, _ *server.Fleet) (Source, error) {
	db, err := openDB(*p, "_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=5000")
	if err != nil {
		return Source{}, err
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"); err != nil {
		return Source{}, errors.Join(err, db.Close())
	}
	put := func(ctx context.Context, version int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		for _, f := range config.Fields(p.Size, version) {
			if f.Changes || version == 1 {
				if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO settings VALUES (?, ?)", f.Key, f.Value); err != nil {
					return err
				}
			}
		}
		return tx.Commit()
	}
	return Source{Put: put, Close: db.Close}, put(ctx, 1)
}

func openSQLite(ctx context.Context, p Place) (*Reader, error) {
	db, err := openDB(p, "mode=ro&_busy_timeout=5000")
	if err != nil {
		return nil, err
	}
	query, err := db.PrepareContext(ctx, "SELECT value FROM settings WHERE name = ?")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Reader{
		Loop: each(func() (v int, err error) {
			err = query.QueryRow(config.Key).Scan(&v)
			return v, err
		}),
		Exact: true, Close: db.Close,
	}, nil
}

func openCachedSQLite(ctx context.Context, p Place) (*Reader, error) {
	db, err := openDB(p, "mode=ro&_busy_timeout=5000")
	if err != nil {
		return nil, err
	}
	var c cache
	load := func(ctx context.Context) error {
		rows, err := db.QueryContext(ctx, "SELECT name, value FROM settings")
		if err != nil {
			return err
		}
		defer rows.Close()
		m := map[string]any{}
		for rows.Next() {
			var name, value string
			if err := rows.Scan(&name, &value); err != nil {
				return err
			}
			m[name] = value
			if v, err := strconv.Atoi(value); err == nil {
				m[name] = v
			}
		}
		c.replace(m)
		return rows.Err()
	}
	if err := load(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	polling, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(sitarPoll)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = load(polling) // the next time may go better
			case <-polling.Done():
				return
			}
		}
	}()
	loop := func(n int) (sum int, err error) {
		for range n {
			sum += c.get(config.Key)
		}
		return sum, nil
	}
	return &Reader{Loop: loop, Watch: poll(loop, time.Millisecond), Close: func() error {
		stop()
		<-stopped
		return db.Close()
	}}, nil
}
