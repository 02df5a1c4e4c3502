//go:build linux

// Package systemd_test holds the unit, its drop-ins, and the files that make the
// user and the directories to what they promise.
package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const unit = "statesyncd.service"

// run runs a tool of systemd's and returns what it said.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs Debian's package systemd, for %s: apt-get install systemd", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The unit and each drop-in are what systemd understands, every word of them.
func TestVerify(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The command need not be installed here.
	text := bytes.ReplaceAll(read(t, unit), []byte("ExecStart=/usr/bin/statesyncd"), []byte("ExecStart="+self))
	for _, dropIn := range []string{"", "seal.conf"} {
		t.Run(dropIn, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), unit)
			write(t, path, text)
			if dropIn != "" {
				write(t, filepath.Join(path+".d", dropIn), read(t, dropIn))
			}
			if out, err := run(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path); err != nil || out != "" {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
		})
	}
	t.Run("a mistake is found", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), unit)
		write(t, path, bytes.Replace(text, []byte("[Service]"), []byte("[Service]\nProtectSystme=yes"), 1))
		if out, _ := run(t, "systemd-analyze", "verify", "--man=no", path); !strings.Contains(out, "ProtectSystme") {
			t.Errorf("systemd-analyze verify says nothing of ProtectSystme: %s", out)
		}
	})
}

// The exposure that systemd computes is under 2.0, of 10.
func TestExposure(t *testing.T) {
	if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=19", unit); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	bare := filepath.Join(t.TempDir(), unit)
	write(t, bare, []byte("[Service]\nExecStart=/bin/true\n"))
	if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=19", bare); err == nil {
		t.Errorf("systemd-analyze security is content with a unit that protects nothing:\n%s", out)
	}
}

// logind's RemoveIPC does not delete the files of this user and group, and the user
// cannot log in.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root")
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "usr/lib/sysusers.d/statesync.conf"), read(t, "statesync.sysusers.conf"))
	if out, err := run(t, "systemd-sysusers", "--root="+root, "statesync.conf"); err != nil {
		t.Fatalf("systemd-sysusers: %v\n%s", err, out)
	}
	line := strings.TrimSpace(string(read(t, filepath.Join(root, "etc/passwd"))))
	fields := strings.Split(line, ":") // name, password, uid, gid, comment, home, shell
	if len(fields) != 7 || fields[0] != "statesync" || !strings.HasSuffix(fields[6], "/nologin") {
		t.Errorf("the user is %q", line)
	}
	if n, err := strconv.Atoi(fields[2]); err != nil || n < 1 || n > 999 {
		t.Errorf("the user's number is %s, which is not a system user's", fields[2])
	}
	group := strings.TrimSpace(string(read(t, filepath.Join(root, "etc/group"))))
	if want := "statesync:x:" + fields[3] + ":"; group != want {
		t.Errorf("the groups are %q, want only %q, without members", group, want)
	}
}

// The region's directories are made for root and for the daemon, and a later run
// leaves what the daemon made of its own.
func TestDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root")
	}
	root := t.TempDir()
	const uid, gid, other = 731, 732, 733
	write(t, filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:\nstatesync:x:731:732::/:\n"))
	write(t, filepath.Join(root, "etc/group"), []byte("root:x:0:\nstatesync:x:732:\n"))
	write(t, filepath.Join(root, "usr/lib/tmpfiles.d/statesync.conf"), read(t, "statesync.tmpfiles.conf"))
	create := func() {
		t.Helper()
		if out, err := run(t, "systemd-tmpfiles", "--root="+root, "--create", "statesync.conf"); err != nil {
			t.Fatalf("systemd-tmpfiles: %v\n%s", err, out)
		}
	}
	check := func(path string, uid, gid uint32, mode os.FileMode) {
		t.Helper()
		info, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Uid != uid || st.Gid != gid || info.Mode() != os.ModeDir|mode {
			t.Errorf("%s is of %d:%d, %v; want %d:%d, %v", path, st.Uid, st.Gid, info.Mode(), uid, gid, os.ModeDir|mode)
		}
	}
	create()
	check("dev/shm/statesync", 0, 0, 0o755)
	check("dev/shm/statesync/default", uid, gid, 0o755)

	// --region-mode 0640 --region-group other
	region := filepath.Join(root, "dev/shm/statesync/default")
	if err := os.Chown(region, -1, other); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(region, 0o750); err != nil {
		t.Fatal(err)
	}
	create()
	check("dev/shm/statesync/default", uid, other, 0o750)
}
