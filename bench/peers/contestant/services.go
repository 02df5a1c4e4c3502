package contestant

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
)

// services are asked for each read.
var services = []*Contestant{
	{
		Name: "agent", Title: "an HTTP agent on localhost, `GET` and `json.Unmarshal`",
		Note: "exact; a change comes through a long poll", Publish: publishAgent, Open: openAgent,
	},
	{
		Name: "grpc", Title: "gRPC in front of Redis", Module: "google.golang.org/grpc",
		Note: "exact; the synchronous approach", Open: openGRPC,
		Publish: func(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error) {
			s, err := publishRedis("unix", false)(ctx, p, fleet)
			if err != nil {
				return s, err
			}
			g, err := fleet.GRPC(ctx)
			if err == nil {
				p.Addr = g.Addr
			}
			return s, err
		},
	},
	{
		Name: "etcd", Title: "etcd, `Get`", Module: "go.etcd.io/etcd/server/v3",
		Note: "exact: linearizable; one member; a change comes through a watch", Publish: publishEtcd, Open: openEtcd,
	},
	{
		Name: "nats", Title: "NATS KV, `Get`", Module: "github.com/nats-io/nats-server/v2",
		Note: "a change comes through a watch", Publish: publishNATS, Open: openNATS,
	},
}

func publishAgent(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error) {
	base, err := fleet.Agent(ctx)
	if err != nil {
		return Source{}, err
	}
	p.Addr = base + "/config/" + fmt.Sprintf("%x", p.Dir)
	c := &http.Client{Transport: &http.Transport{}}
	put := func(ctx context.Context, version int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, p.Addr, bytes.NewReader(config.Document(p.Size, version)))
		if err != nil {
			return err
		}
		reply, err := c.Do(r)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusNoContent {
			return fmt.Errorf("PUT %s: %s", p.Addr, reply.Status)
		}
		return nil
	}
	return Source{Put: put, Close: func() error {
		c.CloseIdleConnections()
		return nil
	}}, put(ctx, 1)
}

func openAgent(_ context.Context, p Place) (*Reader, error) {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	get := func(ctx context.Context, query, etag string) (v int, newTag string, err error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Addr+query, nil)
		if err != nil {
			return 0, "", err
		}
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		reply, err := c.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer reply.Body.Close()
		content, err := io.ReadAll(reply.Body)
		switch {
		case err != nil:
			return 0, "", err
		case reply.StatusCode == http.StatusNotModified:
			return 0, etag, nil
		case reply.StatusCode != http.StatusOK:
			return 0, "", fmt.Errorf("GET %s: %s", p.Addr, reply.Status)
		}
		v, err = elo(content)
		return v, reply.Header.Get("ETag"), err
	}
	return &Reader{
		Loop: each(func() (int, error) {
			v, _, err := get(context.Background(), "", "")
			return v, err
		}),
		Watch: func(ctx context.Context, seen func(int)) error {
			for etag := ""; ; {
				v, next, err := get(ctx, "?wait=30s", etag)
				if err != nil {
					return unlessEnded(ctx, err)
				}
				if next != etag {
					etag = next
					seen(v)
				}
			}
		},
		Close: func() error {
			c.CloseIdleConnections()
			return nil
		},
	}, nil
}

func openGRPC(_ context.Context, p Place) (*Reader, error) {
	c, err := server.DialGRPC(p.Addr)
	if err != nil {
		return nil, err
	}
	return &Reader{
		Loop: each(func() (int, error) {
			v, err := c.Get(context.Background(), hash(p), config.Key)
			if err != nil {
				return 0, err
			}
			return strconv.Atoi(v)
		}),
		Exact: true, Close: c.Close,
	}, nil
}

func dialEtcd(addr string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
}

func publishEtcd(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error) {
	addr, err := fleet.Etcd(ctx)
	if err != nil {
		return Source{}, err
	}
	p.Addr = addr
	c, err := dialEtcd(addr)
	if err != nil {
		return Source{}, err
	}
	put := func(ctx context.Context, version int) error {
		const most = 100 // etcd takes 128 operations in a transaction
		var ops []clientv3.Op
		fields := config.Fields(p.Size, version)
		for i, f := range fields {
			if f.Changes || version == 1 {
				ops = append(ops, clientv3.OpPut(filepath.Join(p.Dir, f.Key), f.Value))
			}
			if len(ops) == most || i == len(fields)-1 && len(ops) > 0 {
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					return err
				}
				ops = ops[:0]
			}
		}
		return nil
	}
	return Source{Put: put, Close: c.Close}, put(ctx, 1)
}

func openEtcd(_ context.Context, p Place) (*Reader, error) {
	c, err := dialEtcd(p.Addr)
	if err != nil {
		return nil, err
	}
	key := filepath.Join(p.Dir, config.Key)
	get := func(ctx context.Context) (v int, revision int64, err error) {
		r, err := c.Get(ctx, key)
		if err != nil {
			return 0, 0, err
		}
		if len(r.Kvs) != 1 {
			return 0, 0, fmt.Errorf("etcd has no %s", key)
		}
		v, err = strconv.Atoi(string(r.Kvs[0].Value))
		return v, r.Header.Revision, err
	}
	return &Reader{
		Loop: each(func() (int, error) {
			v, _, err := get(context.Background())
			return v, err
		}),
		Watch: func(ctx context.Context, seen func(int)) error {
			v, revision, err := get(ctx)
			if err != nil {
				return err
			}
			changes := c.Watch(ctx, key, clientv3.WithRev(revision+1), clientv3.WithCreatedNotify())
			for r := range changes {
				if err := r.Err(); err != nil && ctx.Err() == nil {
					return err
				}
				if r.Created {
					seen(v)
				}
				for _, e := range r.Events {
					if v, err = strconv.Atoi(string(e.Kv.Value)); err != nil {
						return err
					}
					seen(v)
				}
			}
			return nil
		},
		Close: c.Close,
	}, nil
}

// natsBucket is the bucket of a place, which has a name without slashes.
func natsBucket(p Place) string { return fmt.Sprintf("%x", p.Dir) }

func publishNATS(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error) {
	url, err := fleet.NATS(ctx)
	if err != nil {
		return Source{}, err
	}
	p.Addr = url
	conn, js, err := dialNATS(url)
	if err != nil {
		return Source{}, err
	}
	closing := func() error {
		conn.Close()
		return nil
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: natsBucket(*p)})
	if err != nil {
		return Source{Close: closing}, err
	}
	put := func(ctx context.Context, version int) error {
		for _, f := range config.Fields(p.Size, version) {
			if f.Changes || version == 1 {
				if _, err := kv.PutString(ctx, f.Key, f.Value); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return Source{Put: put, Close: closing}, put(ctx, 1)
}

func dialNATS(url string) (*nats.Conn, jetstream.JetStream, error) {
	conn, err := nats.Connect(url)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	return conn, js, err
}

func openNATS(ctx context.Context, p Place) (*Reader, error) {
	conn, js, err := dialNATS(p.Addr)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, natsBucket(p))
	if err != nil {
		conn.Close()
		return nil, err
	}
	value := func(e jetstream.KeyValueEntry) (int, error) { return strconv.Atoi(string(e.Value())) }
	return &Reader{
		Loop: each(func() (int, error) {
			e, err := kv.Get(context.Background(), config.Key)
			if err != nil {
				return 0, err
			}
			return value(e)
		}),
		Watch: func(ctx context.Context, seen func(int)) error {
			w, err := kv.Watch(ctx, config.Key)
			if err != nil {
				return err
			}
			defer func() { _ = w.Stop() }()
			for {
				select {
				case e := <-w.Updates():
					if e == nil { // all that was there has been seen
						continue
					}
					v, err := value(e)
					if err != nil {
						return err
					}
					seen(v)
				case <-ctx.Done():
					return nil
				}
			}
		},
		Close: func() error {
			conn.Close()
			return nil
		},
	}, nil
}
