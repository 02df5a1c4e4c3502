//go:build unix

package httpd

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// MaxConnections is how many connections a server has.
const MaxConnections = 64

// connections bounds how many connections there are. One that is too many takes
// the place of the one that has been waiting for a request for longest, so that
// clients that only hold connections do not keep a probe out. If all are being
// answered, the new one is closed at once: in a queue, a scrape would wait for other
// clients. Clients that are preferred take the place of one that is not.
type connections struct {
	prefer func(net.Conn) bool // nil: none are

	mu   sync.Mutex
	open map[net.Conn]time.Time // since when it waits for a request; zero while it has one
}

// changed is for http.Server.ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	case http.StateActive:
		if _, there := c.open[conn]; there {
			c.open[conn] = time.Time{}
		}
	case http.StateIdle:
		if _, there := c.open[conn]; there {
			c.open[conn] = time.Now()
		}
	case http.StateNew:
		if len(c.open) == MaxConnections {
			victim := c.longestWaiting()
			if victim == nil && c.prefer != nil && c.prefer(conn) {
				victim = c.notPreferred()
			}
			if victim == nil {
				_ = conn.Close()
				return
			}
			_ = victim.Close()
			delete(c.open, victim)
		}
		if c.open == nil {
			c.open = make(map[net.Conn]time.Time)
		}
		c.open[conn] = time.Now()
	}
}

// notPreferred is nil if all are.
func (c *connections) notPreferred() net.Conn {
	for conn := range c.open {
		if !c.prefer(conn) {
			return conn
		}
	}
	return nil
}

// longestWaiting is nil if every connection has a request.
func (c *connections) longestWaiting() (longest net.Conn) {
	var since time.Time
	for conn, waits := range c.open {
		if !waits.IsZero() && (longest == nil || waits.Before(since)) {
			longest, since = conn, waits
		}
	}
	return longest
}
