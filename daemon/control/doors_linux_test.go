package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/shmtest"
)

// Users and groups that this machine need not know.
const (
	stranger = 4242
	member   = 4243
	deputies = 4300 // the control group
)

// answers words what a client was told.
func answers(err error) string {
	var refused *RefusedError
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &refused):
		return fmt.Sprint(refused.Code)
	case errors.Is(err, fs.ErrPermission):
		return "closed"
	case errors.Is(err, ErrNoDaemon):
		return "absent"
	}
	return err.Error()
}

// anyone are the users as which the daemon may appear, here and in another user namespace.
var anyone = []int{0, overflowUID}

func init() {
	// visitor REGION CONTROL [only] says what it can do there. With only, it sees nothing
	// but the region, read-only, as a container of the readers does.
	roles["visitor"] = func(args []string) error {
		region, control := args[0], args[1]
		if len(args) > 2 {
			if err := errors.Join(
				unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount(region, region, "", unix.MS_BIND, ""),
				unix.Mount("", region, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
				unix.Mount("tmpfs", control, "tmpfs", 0, ""),
			); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		look := Dial(region, anyone)
		_, err := look.Status(ctx)
		_, there := look.Do(ctx, "pin", Command{Preview: true})
		_, change := DialSocket(filepath.Join(control, ControlName), anyone).Do(ctx, "pin", Command{Preview: true})
		fmt.Println(answers(err), answers(there), answers(change))
		return nil
	}
	// doorkeeper SOCKET prints the uid of the first client, and whether it is refused.
	roles["doorkeeper"] = func(args []string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[0], Net: "unix"})
		if err != nil {
			return err
		}
		if err := os.Chmod(args[0], 0o666); err != nil {
			return err
		}
		fmt.Println("ready")
		c, err := l.AcceptUnix()
		if err != nil {
			return err
		}
		by, denied := (&door{group: -1}).admit(c)
		fmt.Println(by.UID, denied != nil)
		return nil
	}
	// holder REGION holds connections: it asks as slowly as it can, or does not read the
	// answers.
	roles["holder"] = func(args []string) error {
		for i := range 1000 {
			c, err := net.DialTimeout("unix", filepath.Join(args[0], SocketName), time.Second)
			if err != nil {
				continue
			}
			defer c.Close()
			if i%2 == 0 {
				_, _ = c.Write([]byte("GET /v1/openapi HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("GET /v1/openapi HTTP/1.1\r\nHost: x\r\n\r\n", 200)))
			} else {
				_, _ = c.Write([]byte("GET /v1/st"))
			}
		}
		fmt.Println("ready")
		select {}
	}
}

// foreign is root of another user namespace.
var foreign = &syscall.SysProcAttr{
	Credential:  &syscall.Credential{NoSetGroups: true}, // 0 and 0 there
	Cloneflags:  unix.CLONE_NEWUSER,
	UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: stranger, Size: 1}},
	GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: stranger, Size: 1}},
}

// needs skips a test where the kernel gives no process such attributes, as in a container.
func needs(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	if attr == nil {
		return
	}
	try := exec.Command("/proc/self/exe", "-test.list=^$")
	try.SysProcAttr = attr
	if err := try.Run(); err != nil {
		t.Skip("no process can be started like that here:", err)
	}
}

// openRegion is the path of a region that other users come to.
func openRegion(t *testing.T) string {
	region := shmtest.RegionIn(t)
	shmtest.Must(t, os.Chmod(filepath.Dir(region), 0o755))
	return region
}

// Each user is let in to look, and to change, as the table says.
func TestDoors(t *testing.T) {
	shmtest.NeedRoot(t)
	h := startWith(t, openRegion(t), func(o *Options) { o.ControlGroup = deputies })
	as := func(uid, gid uint32, groups ...uint32) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
	}
	for _, c := range []struct {
		who    string
		attr   *syscall.SysProcAttr
		only   bool
		want   string // looking; changing there; changing at the control socket
		opened string // the last one after the socket's mode is changed by mistake
	}{
		{"root", nil, false, "yes 404 yes", "yes"},
		{"another user", as(stranger, stranger), false, "yes 404 closed", "403"},
		{"a member of the control group", as(member, member, 7, deputies), false, "yes 404 yes", "yes"},
		{"one whose first group it is", as(member, deputies), false, "yes 404 yes", "yes"},
		{"uid 65534", as(overflowUID, overflowUID, deputies), false, "yes 404 403", "403"},
		{"uid 0 of another user namespace", foreign, false, "yes 404 closed", "403"},
		{"root in a container with the readers' mount", &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}, true, "yes 404 absent", "absent"},
	} {
		t.Run(c.who, func(t *testing.T) {
			needs(t, c.attr)
			args := []string{h.region, h.control}
			if c.only {
				args = append(args, "only")
			}
			ask := func() string {
				child := shmtest.StartWith(t, c.attr, "visitor", nil, args...)
				line := child.Line()
				child.Finish()
				return line
			}
			if got := ask(); got != c.want {
				t.Errorf("%s, and not %s", got, c.want)
			}
			path := filepath.Join(h.control, ControlName)
			shmtest.Must(t, os.Chmod(path, 0o666))
			defer func() { shmtest.Must(t, os.Chmod(path, 0o660)) }()
			if got := ask(); !strings.HasSuffix(got, " "+c.opened) {
				t.Errorf("%s, and not %s", got, c.opened)
			}
		})
	}
}

// A user that has no number in the daemon's namespace never qualifies, not even root.
func TestUserWithoutNumber(t *testing.T) {
	shmtest.NeedRoot(t)
	socket := filepath.Join(shmtest.OpenTemp(t), "socket")
	shmtest.Must(t, os.Chmod(filepath.Dir(socket), 0o777))
	needs(t, foreign)
	child := shmtest.StartWith(t, foreign, "doorkeeper", nil, socket)
	child.Want("ready")
	c, err := net.Dial("unix", socket)
	shmtest.Must(t, err)
	defer c.Close()
	child.Want(fmt.Sprint(overflowUID, " true"))
	child.Finish()
}

// A stranger with a thousand slow connections keeps neither looks nor commands of an
// operator out.
func TestSlowConnections(t *testing.T) {
	shmtest.NeedRoot(t)
	h := startWith(t, openRegion(t), nil)
	child := shmtest.StartAs(t, stranger, "holder", nil, h.region)
	child.Want("ready")
	c := client(h)
	for range 20 {
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := commander(h).Do(t.Context(), "pin", Command{Preview: true}); err != nil {
			t.Fatal(err)
		}
	}
	child.Kill()
}

// A body is bounded, and so is what it says.
func TestBodies(t *testing.T) {
	h := startWith(t, filepath.Join(t.TempDir(), "region"), nil)
	c := commander(h)
	for _, b := range []struct {
		path, body string
		code       int
	}{
		{"pin", "", http.StatusOK},
		{"unpin", "{}", http.StatusOK},
		{"pin", "{", http.StatusBadRequest},
		{"pin", `{"surprise": 1}`, http.StatusBadRequest},
		{"pin", `{"why": "` + strings.Repeat("x", maxWhy+1) + `"}`, http.StatusBadRequest},
		{"override", `{"config": "a", "key": "x", "value": "` + strings.Repeat("x", maxCommand) + `", "for": "1h"}`, http.StatusRequestEntityTooLarge},
		{"override", `{"config": "a", "key": "x", "value": "[", "for": "1h"}`, http.StatusBadRequest},
		{"override", `{"config": "a", "key": "x", "value": "1", "for": "soon"}`, http.StatusBadRequest},
		{"override", `{"config": "a", "key": "x", "value": "1", "for": "-1h"}`, http.StatusConflict},
		{"accept", `{"digest": "sha256:0"}`, http.StatusConflict},
		{"accept", `{"source": "base", "commit": "0"}`, http.StatusConflict},
		{"accept", `{"source": "base"}`, http.StatusBadRequest},
		{"accept", `{"source": "base", "commit": "0", "digest": "sha256:0"}`, http.StatusBadRequest},
		{"rollback", `{"to": 18446744073709551615}`, http.StatusConflict},
		{"rollback", `{"to": -1}`, http.StatusBadRequest},
		{"nothing", `{}`, http.StatusNotFound},
	} {
		answer, err := c.http.Post("http://localhost/v1/"+b.path, "application/json", strings.NewReader(b.body))
		if errors.Is(err, syscall.EPIPE) && b.code == http.StatusRequestEntityTooLarge {
			continue // it was not read to its end
		}
		shmtest.Must(t, err)
		answer.Body.Close()
		if answer.StatusCode != b.code {
			t.Errorf("%s %.60s: %s", b.path, b.body, answer.Status)
		}
	}
	answer, err := c.http.Get("http://localhost/v1/pin")
	shmtest.Must(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Error(answer.Status)
	}
}

// A whole night through the doors.
func TestCommands(t *testing.T) {
	h := startWith(t, filepath.Join(t.TempDir(), "region"), nil)
	c, q := commander(h), client(h)
	do := func(command string, body Command) Reply {
		t.Helper()
		reply, err := c.Do(t.Context(), command, body)
		if err != nil || reply.Refused != "" {
			t.Fatalf("%s: %+v, %v", command, reply, err)
		}
		return reply
	}
	h.put(t, "base/a.yaml", "x: 2\ny: {z: 1}\n")
	await(t, "the second generation", func() bool { return h.State().Generation == 2 && h.State().Converged })

	log, err := q.Log(t.Context(), LogQuery{Config: "a", Key: "x"})
	if err != nil || len(log) != 2 || log[0].Generation != 2 || !log[0].Live || log[0].Changes.Changed != 1 || len(log[0].Layers) != 2 {
		t.Fatalf("%+v, %v", log, err)
	}
	difference, err := q.Diff(t.Context(), Previous, Live, "")
	if err != nil || difference.Changed != 1 || difference.Configs[0].Keys[0].Before != "1" || difference.Configs[0].Keys[0].After != "2" {
		t.Fatalf("%+v, %v", difference, err)
	}
	preview := do("rollback", Command{Preview: true})
	if preview.Record != 1 || preview.Diff == nil || preview.Diff.Changed != 1 || preview.Act != 0 {
		t.Errorf("%+v", preview)
	}
	if reply := do("rollback", Command{Why: "x is wrong"}); reply.Generation != 3 || reply.Record != 1 {
		t.Errorf("%+v", reply)
	}
	status, err := q.Status(t.Context())
	if err != nil || !status.Held || status.Pin == nil || status.Pin.By.UID != os.Geteuid() || status.Pin.Why != "x is wrong" ||
		status.Waiting == nil || status.Waiting.Changes.Changed != 1 || status.Control != filepath.Join(h.control, ControlName) {
		t.Errorf("%+v, %v", status, err)
	}
	if difference, err = q.Diff(t.Context(), Live, Next, ""); err != nil || difference.Changed != 1 || difference.Configs[0].Keys[0].After != "2" {
		t.Errorf("%+v, %v", difference, err)
	}
	shown, err := q.Show(t.Context(), 0, "a")
	if err != nil || shown.Record.Generation != 3 || !slices.Equal(shown.Config.Content, []byte(`{"x":1,"y":{"z":2}}`)) || shown.Record.Command != "rollback 1" {
		t.Errorf("%+v, %v", shown, err)
	}
	why, err := q.WhyThen(t.Context(), 2, "a", "x")
	if err != nil || why.Origins[0].Value != "2" || why.Origins[0].Layer != "base" {
		t.Errorf("%+v, %v", why, err)
	}
	do("unpin", Command{})
	do("override", Command{Config: "a", Key: "x", Value: "3", For: "1h"})
	if status, err = q.Status(t.Context()); err != nil || len(status.Overrides) != 1 || string(status.Overrides[0].Value) != "3" || status.Pin != nil {
		t.Errorf("%+v, %v", status, err)
	}
	do("override/clear", Command{Config: "a"})
	do("reload", Command{})
	do("purge", Command{Config: "a"})
	_, err = q.Show(t.Context(), 1, "a")
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != http.StatusNotFound || !strings.Contains(err.Error(), "purged") {
		t.Errorf("%v", err)
	}
	var commands []string
	audit, err := q.Audit(t.Context(), 0, 10)
	for _, e := range audit {
		commands = append(commands, e.Command)
	}
	if want := []string{"history purge a", "override --clear a", "override a x=3 --for 1h0m0s", "unpin", "rollback 1"}; err != nil || !slices.Equal(commands, want) {
		t.Errorf("%q, %v", commands, err)
	}
}
