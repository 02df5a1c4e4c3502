package contestant

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/server"
)

// redises read a field of a hash, which is where the config is.
var redises = []*Contestant{
	{
		Name: "redis-unix", Title: "Redis through a unix socket, go-redis", Module: "github.com/redis/go-redis/v9",
		Note: "exact", Publish: publishRedis("unix", false),
		Open: func(_ context.Context, p Place) (*Reader, error) { return openRedis(p, "unix") },
	},
	{
		Name: "redis-tcp", Title: "Redis through TCP, go-redis", Module: "github.com/redis/go-redis/v9",
		Note: "exact", Publish: publishRedis("tcp", false),
		Open: func(_ context.Context, p Place) (*Reader, error) { return openRedis(p, "tcp") },
	},
	{
		Name: "redis-pubsub", Title: "Redis Pub/Sub and a variable, go-redis", Module: "github.com/redis/go-redis/v9",
		Note: "what is published while the connection is down is lost", Publish: publishRedis("unix", true), Open: openPubSub,
	},
	{
		Name: "rueidis", Title: "Redis with rueidis's client-side cache", Module: "github.com/redis/rueidis",
		Note: "invalidated by the server; TTL 1 min", Publish: publishRedis("unix", false), Open: openRueidis,
	},
}

// hash is where a place's config is in Redis.
func hash(p Place) string { return p.Dir }

func publishRedis(network string, announce bool) func(context.Context, *Place, *server.Fleet) (Source, error) {
	return func(ctx context.Context, p *Place, fleet *server.Fleet) (Source, error) {
		r, err := fleet.Redis(ctx)
		if err != nil {
			return Source{}, err
		}
		p.Addr, p.Server = r.Addr, "redis-server "+r.Version
		if network == "unix" {
			p.Addr = r.Socket
		}
		c := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket})
		put := func(ctx context.Context, version int) error {
			var values []any
			for _, f := range config.Fields(p.Size, version) {
				if f.Changes || version == 1 {
					values = append(values, f.Key, f.Value)
				}
			}
			if !announce {
				return c.HSet(ctx, hash(*p), values...).Err()
			}
			_, err := c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
				tx.HSet(ctx, hash(*p), values...)
				tx.Publish(ctx, hash(*p), strconv.Itoa(config.Elo(version)))
				return nil
			})
			return err
		}
		return Source{Put: put, Close: c.Close}, put(ctx, 1)
	}
}

func openRedis(p Place, network string) (*Reader, error) {
	c := redis.NewClient(&redis.Options{Network: network, Addr: p.Addr})
	return &Reader{
		Loop:  each(func() (int, error) { return c.HGet(context.Background(), hash(p), config.Key).Int() }),
		Exact: true, Close: c.Close,
	}, nil
}

func openPubSub(ctx context.Context, p Place) (*Reader, error) {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: p.Addr})
	first, err := c.HGet(ctx, hash(p), config.Key).Int()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Reader{
		Watch: func(ctx context.Context, seen func(int)) error {
			s := c.Subscribe(ctx, hash(p))
			defer s.Close()
			defer context.AfterFunc(ctx, func() { _ = s.Close() })() // which ends a ReceiveMessage
			if _, err := s.Receive(ctx); err != nil {                // it is subscribed
				return err
			}
			seen(first)
			for {
				m, err := s.ReceiveMessage(ctx)
				if err != nil {
					return unlessEnded(ctx, err)
				}
				v, err := strconv.Atoi(m.Payload)
				if err != nil {
					return err
				}
				seen(v)
			}
		},
		Close: c.Close,
	}, nil
}

func openRueidis(_ context.Context, p Place) (*Reader, error) {
	invalidated := make(chan struct{}, 1)
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{p.Addr},
		DialCtxFn: func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
		OnInvalidations: func([]rueidis.RedisMessage) {
			select {
			case invalidated <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return nil, err
	}
	get := func() (int, error) {
		v, err := c.DoCache(context.Background(), c.B().Hget().Key(hash(p)).Field(config.Key).Cache(), time.Minute).ToString()
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(v)
	}
	return &Reader{
		Loop: each(get),
		Watch: func(ctx context.Context, seen func(int)) error {
			for {
				v, err := get() // which also asks to be told of the next change
				if err != nil {
					return err
				}
				seen(v)
				select {
				case <-invalidated:
				case <-ctx.Done():
					return nil
				}
			}
		},
		Close: func() error {
			c.Close()
			return nil
		},
	}, nil
}
