//go:build unix

package git

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/statesync/statesync/daemon/source"
)

// sshServer runs a real sshd for each connection, and returns its address, and the files
// of a user's key and of the host's key.
func sshServer(t *testing.T) (address, key, knownHosts string) {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	for _, program := range []string{sshd, "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("sshd needs root")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	keygen(t, filepath.Join(dir, "host"))
	keygen(t, filepath.Join(dir, "key"))
	public := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for name, text := range map[string]string{
		"authorized": public("key"),
		"known":      "[127.0.0.1]:" + port + " " + public("host"),
		"config": strings.Join([]string{
			"HostKey " + filepath.Join(dir, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized"), "StrictModes no",
			"UsePAM no", "PermitRootLogin yes", "PasswordAuthentication no", "PidFile none", "PrintMotd no", "",
		}, "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			file, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				continue
			}
			cmd := exec.Command(sshd, "-i", "-e", "-f", filepath.Join(dir, "config"))
			cmd.Stdin, cmd.Stdout = file, file
			if err := cmd.Start(); err == nil {
				serving.Go(func() { _ = cmd.Wait() })
			}
			file.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return address, filepath.Join(dir, "key"), filepath.Join(dir, "known")
}

// keygen makes a key pair.
func keygen(t testing.TB, name string) {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", name).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

func TestOverSSH(t *testing.T) {
	address, key, knownHosts := sshServer(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	url := fmt.Sprintf("git:ssh://%s@%s%s", me.Username, address, u.served)
	s := open(t, url+"?key="+key+"&known-hosts="+knownHosts, source.Options{})
	one := fetch(t, s)
	if got := text(one); got != "a.yaml=1" {
		t.Errorf("the snapshot has %q", got)
	}
	if fetch(t, s) != one {
		t.Error("an unchanged repository gives another snapshot")
	}
	u.push("a.yaml", "2")
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("after a change the snapshot has %q", got)
	}

	other := filepath.Join(t.TempDir(), "other")
	keygen(t, other)
	refusal(t, open(t, url+"?key="+other+"&known-hosts="+knownHosts, source.Options{}), "Permission denied", "key=FILE")
	refusal(t, open(t, url+"?key="+key+"&known-hosts="+other+".pub", source.Options{}), "Host key verification failed", "known-hosts=")
}
