//go:build unix

package control

import (
	"bytes"
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/statesync/statesync/daemon/diff"
)

// ErrNoDaemon is the error of a query for which no daemon is there.
var ErrNoDaemon = errors.New("no daemon answers")

// ErrNoAnswer is the error of a query or a command that the daemon took and did not
// answer. Of a command it is not known whether it was done.
var ErrNoAnswer = errors.New("the daemon does not answer")

// maxAnswer bounds what a client reads, in bytes.
const maxAnswer = 64 << 20

// clientTimeout bounds a query.
const clientTimeout = time.Minute

// Client asks the daemon of one region, or commands it.
type Client struct {
	path string
	http http.Client
}

// Dial makes a client for the query socket in a region's directory. It connects at
// each query, and then trusts the daemon if that runs as one of the users: those that
// the caller trusts to write the region.
func Dial(region string, users []int) *Client {
	return DialSocket(filepath.Join(region, SocketName), users)
}

// DialSocket makes a client for a socket: for the control socket, whose path Status has,
// commands work, too.
func DialSocket(path string, users []int) *Client {
	c := &Client{path: path}
	c.http.Timeout = clientTimeout
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dial(ctx, path)
			if err != nil {
				return nil, err
			}
			who, err := peer(conn)
			if uid := int(who.Uid); err == nil && !slices.Contains(users, uid) {
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

// WhyThen asks where a value of an earlier generation came from.
func (c *Client) WhyThen(ctx context.Context, generation uint64, config, key string) (w Why, err error) {
	err = c.get(ctx, "/v1/why", url.Values{"config": {config}, "key": {key}, "generation": {decimal(generation)}}, &w)
	return w, err
}

// LogQuery says which generations Log asks for. The zero value is the newest ones.
type LogQuery struct {
	Before uint64 // only those below it; 0: all
	Limit  int    // how many; 0: the server's 50. At most 1000
	Config string // only those that changed it
	Key    string // only those that changed this key of it
}

// Log asks for generations, the newest first.
func (c *Client) Log(ctx context.Context, q LogQuery) (records []Record, err error) {
	err = c.get(ctx, "/v1/log", url.Values{"before": {decimal(q.Before)}, "limit": {strconv.Itoa(q.Limit)}, "config": {q.Config}, "key": {q.Key}}, &records)
	return records, err
}

// Show asks for a generation, 0 is the live one, and for a config as it had it, if config
// is not empty.
func (c *Client) Show(ctx context.Context, generation uint64, config string) (s Show, err error) {
	err = c.get(ctx, "/v1/show", url.Values{"generation": {decimal(generation)}, "config": {config}}, &s)
	return s, err
}

// What Diff compares beside generations.
const (
	Previous = "previous" // the newest generation whose content differs from what is live
	Live     = "live"
	Next     = "waiting" // what would be live were it not held or guarded
)

// Diff asks what is different between two generations, which are numbers, Previous, Live
// or Next, in one config or, if config is empty, in all.
func (c *Client) Diff(ctx context.Context, from, to, config string) (d *diff.Diff, err error) {
	err = c.get(ctx, "/v1/diff", url.Values{"from": {from}, "to": {to}, "config": {config}}, &d)
	return d, err
}

// Audit asks for acts below a number (0: all), the newest first.
func (c *Client) Audit(ctx context.Context, before uint64, limit int) (entries []Entry, err error) {
	err = c.get(ctx, "/v1/audit", url.Values{"before": {decimal(before)}, "limit": {strconv.Itoa(limit)}}, &entries)
	return entries, err
}

// Floors asks what was accepted last of each source that this is kept of.
func (c *Client) Floors(ctx context.Context) (floors []Floor, err error) {
	err = c.get(ctx, "/v1/floors", nil, &floors)
	return floors, err
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// Do gives a command: "rollback", "pin", "unpin", "override", "override/clear", "accept",
// "floors/reset", "purge" or "reload". It returns when the command had its effect.
func (c *Client) Do(ctx context.Context, command string, body Command) (reply Reply, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return reply, err
	}
	err = c.ask(ctx, http.MethodPost, "/v1/"+command, nil, bytes.NewReader(text), &reply)
	return reply, err
}

// get asks with GET.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.ask(ctx, http.MethodGet, path, query, nil, into)
}

// ask asks, and decodes the answer.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body io.Reader, into any) error {
	address := url.URL{Scheme: "http", Host: "localhost", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, address.String(), body)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	if answer.StatusCode != http.StatusOK {
		refused := struct{ Error string }{strings.TrimSpace(string(text))}
		if json.Unmarshal(text, &refused) != nil && len(refused.Error) > 1000 {
			refused.Error = answer.Status
		}
		return &RefusedError{Code: answer.StatusCode, What: refused.Error}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: the answer is not understood: %w", c.path, err)
	}
	return nil
}

// RefusedError is the daemon's answer that something is not possible.
type RefusedError struct {
	Code int    // of HTTP
	What string // what is wrong, and what to do
}

func (e *RefusedError) Error() string { return e.What }

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
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s: %w", c.path, ErrNoAnswer)
	}
	return fmt.Errorf("%s: %w", c.path, err)
}
