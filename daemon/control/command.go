//go:build unix

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/httpd"
	"github.com/statesync/statesync/daemon/plan"
)

// maxCommand bounds the body of a command, in bytes: a value and what is around it.
const maxCommand = 2 << 20

// maxWhy bounds the reason that a command is given, in bytes.
const maxWhy = 1000

// overflowUID is what a user of another user namespace looks like that has no number in
// this one. Any such user does, so that it never qualifies.
const overflowUID = 65534

// door decides which processes may command.
type door struct {
	group int // whose members may; -1: none
}

type visitorKey struct{}

// visitor is the process at the other end of a connection.
type visitor struct {
	by     daemon.By
	denied error
}

// connected notes the peer at the time of the connection. What the kernel has of it then
// does not change, whatever the process does later.
func (d *door) connected(ctx context.Context, c net.Conn) context.Context {
	v := visitor{denied: errUnknownPeer}
	if conn, ok := c.(*net.UnixConn); ok {
		v.by, v.denied = d.admit(conn)
	}
	return context.WithValue(ctx, visitorKey{}, v)
}

var errUnknownPeer = errors.New("the process at the other end is not known")

// admit says which process is at the other end, and why it may not command, if so.
func (d *door) admit(c *net.UnixConn) (by daemon.By, denied error) {
	cred, err := peer(c)
	if err != nil {
		return by, fmt.Errorf("%w: %w", errUnknownPeer, err)
	}
	uid := int(cred.Uid)
	by = daemon.By{UID: uid, User: userName(uid), PID: int(cred.Pid), Program: program(int(cred.Pid))}
	switch {
	case uid == overflowUID:
		return by, fmt.Errorf("uid %d may not command: any user of another user namespace looks like that", uid)
	case uid == 0 || uid == os.Geteuid():
		return by, nil
	case d.group >= 0 && int(cred.Gid) == d.group:
		return by, nil
	case d.group >= 0:
		groups, err := peerGroups(c)
		if err != nil {
			return by, fmt.Errorf("the groups of uid %d are not known: %w", uid, err)
		}
		if slices.Contains(groups, d.group) {
			return by, nil
		}
	}
	return by, fmt.Errorf("uid %d may not command: root, the daemon's user and the members of --control-group may", uid)
}

// operator reports whether root or the daemon's user is at the other end.
func operator(c net.Conn) bool {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	cred, err := peer(conn)
	return err == nil && cred.Uid != overflowUID && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// userName names a user as the host's files do; empty if they do not.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.Username
}

// program is the name of a process' program; empty if it cannot be read, as where the
// unit hides other users' processes. The process chose it.
func program(pid int) string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return strings.TrimSpace(string(text))
}

// commands are the routes that change something.
func (s *server) commands() httpd.Routes {
	routes := httpd.Routes{}
	for name, build := range map[string]func(Command) (daemon.Command, error){
		"reload":   func(Command) (daemon.Command, error) { return daemon.Reload{}, nil },
		"pin":      func(Command) (daemon.Command, error) { return daemon.Pin{}, nil },
		"unpin":    func(Command) (daemon.Command, error) { return daemon.Unpin{}, nil },
		"rollback": func(c Command) (daemon.Command, error) { return daemon.Rollback{To: c.To}, nil },
		"override": override,
		"override/clear": func(c Command) (daemon.Command, error) {
			return daemon.ClearOverride{Config: c.Config, Key: c.Key}, nil
		},
		"accept": accept,
		"floors/reset": func(c Command) (daemon.Command, error) {
			return daemon.ResetFloor{Source: c.Source}, nil
		},
		"purge": func(c Command) (daemon.Command, error) { return daemon.Purge{Config: c.Config}, nil },
	} {
		routes["/v1/"+name] = answer(func(r *http.Request) (any, error) { return s.command(r, build) })
	}
	return routes
}

func accept(c Command) (daemon.Command, error) {
	switch {
	case c.Source == "" && c.Commit == "":
		return daemon.Accept{Digest: c.Digest}, nil
	case c.Source == "" || c.Commit == "" || c.Digest != "":
		return nil, errors.New("accept takes a digest, or a source and a commit")
	}
	return daemon.AcceptCommit{Source: c.Source, Commit: c.Commit}, nil
}

func override(c Command) (daemon.Command, error) {
	value, err := plan.Value(c.Value)
	if err != nil {
		return nil, err
	}
	span, err := time.ParseDuration(c.For)
	if err != nil {
		return nil, fmt.Errorf("for is %q; give how long the override holds, such as 1h", c.For)
	}
	return daemon.Override{Config: c.Config, Key: c.Key, Value: value, For: span}, nil
}

// command does what a request asks for.
func (s *server) command(r *http.Request, build func(Command) (daemon.Command, error)) (any, error) {
	v, known := r.Context().Value(visitorKey{}).(visitor)
	if !known {
		v.denied = errUnknownPeer
	}
	if v.denied != nil {
		return nil, &refusal{http.StatusForbidden, v.denied.Error()}
	}
	var body Command
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil && !errors.Is(err, io.EOF) { // no body is an empty one
		return nil, &refusal{http.StatusBadRequest, "the body is not understood: " + err.Error()}
	}
	if len(body.Why) > maxWhy {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("the reason has %d bytes; at most %d are kept", len(body.Why), maxWhy)}
	}
	c, err := build(body)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	}
	reply, err := s.daemon.Do(r.Context(), daemon.Request{Command: c, By: v.by, Why: body.Why, Preview: body.Preview})
	switch {
	case errors.Is(err, daemon.ErrInvalid), errors.Is(err, daemon.ErrNoStateDir):
		return nil, &refusal{http.StatusConflict, err.Error()}
	case err != nil:
		return nil, err // 503: it may work later
	}
	return Reply{
		Act: reply.Act, Generation: reply.Generation, Record: reply.Record, Published: reply.Published,
		Refused: reply.Refused, Warnings: reply.Warnings, Changes: changes(reply.Changes), Diff: reply.Diff,
	}, nil
}
