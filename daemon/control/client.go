//go:build unix

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// ErrNoDaemon is the error of a query for which no daemon is there.
var ErrNoDaemon = errors.New("no daemon answers")

// maxAnswer bounds what a client reads, in bytes.
const maxAnswer = 64 << 20

// clientTimeout bounds a query.
const clientTimeout = 15 * time.Second

// Client asks the daemon of one region.
type Client struct {
	path string
	http http.Client
}

// Dial makes a client for the query socket in a region's directory. It connects at
// each query, and then trusts the daemon if that runs as one of the users: those that
// the caller trusts to write the region.
func Dial(region string, users []int) *Client {
	c := &Client{path: filepath.Join(region, SocketName)}
	c.http.Timeout = clientTimeout
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dial(ctx, region)
			if err != nil {
				return nil, err
			}
			uid, err := peer(conn)
			if err == nil && !slices.Contains(users, uid) {
				err = fmt.Errorf("%s: the process that answers runs as uid %d, which is not trusted", c.path, uid)
			}
			if err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return conn, nil
		},
	}
	return c
}

// Layers asks for the daemon's sources, the lowest first.
func (c *Client) Layers(ctx context.Context) (layers []Layer, err error) {
	err = c.get(ctx, "/v1/layers", nil, &layers)
	return layers, err
}

// Status asks how the daemon stands.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Why asks where a value comes from. An empty key is the whole config.
func (c *Client) Why(ctx context.Context, config, key string) (w Why, err error) {
	err = c.get(ctx, "/v1/why", url.Values{"config": {config}, "key": {key}}, &w)
	return w, err
}

// get asks, and decodes the answer.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	address := url.URL{Scheme: "http", Host: "localhost", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	if answer.StatusCode != http.StatusOK {
		var refused struct{ Error string }
		if json.Unmarshal(body, &refused) != nil || refused.Error == "" {
			refused.Error = answer.Status
		}
		return errors.New(refused.Error)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: the answer is not understood: %w", c.path, err)
	}
	return nil
}

// explain leaves out of an error what is about HTTP.
func (c *Client) explain(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: %w", c.path, ErrNoDaemon)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", c.path, fs.ErrPermission)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the daemon does not answer", c.path)
	}
	return fmt.Errorf("%s: %w", c.path, err)
}
