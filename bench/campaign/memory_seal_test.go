//go:build linux

package campaign

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	// memory-uncapped BINARY ARGUMENT… becomes another program that can't seal.
	roles["memory-uncapped"] = func(_ context.Context, args []string) error {
		runtime.LockOSThread() // the one that the program begins with
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_LINUX_IMMUTABLE, 0, 0, 0); err != nil {
			return err
		}
		return syscall.Exec(args[0], args, os.Environ())
	}
}

// A daemon without the capability reports how to proceed with a sealed region, and
// changes nothing: readers keep reading. With the capability, or after the seal is
// lifted as the message says, a daemon continues in the same region.
func TestMemorySealedSuccessor(t *testing.T) {
	parent := memoryTmpfs(t, 1024)
	memoryNeedsSeals(t, parent)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB", "--seal")
	h.start()
	h.reader = memoryRead(t, h.region)
	h.reader.sees("at first", 1)
	id, _, err := h.look()
	ok(t, err)
	h.daemon.kill()
	refused := 0
	for _, seal := range []string{"--seal", "--seal=false"} {
		for _, harm := range []string{"", "status"} {
			h.publish(1000)
			if harm != "" {
				_ = os.Remove(filepath.Join(h.region, "lock")) // of the one that died
			}
			p := spawn(t, "memory-uncapped", append([]string{build(t, memoryCommand)}, append(h.args(), seal)...)...)
			for range p.Lines {
			}
			<-p.ended
			exit, _ := p.err.(*exec.ExitError)
			if exit == nil || exit.ExitCode() != 1 {
				t.Errorf("with %s it ended with %v", seal, p.err)
			}
			for _, word := range []string{"region is sealed", "chattr -a", "CAP_LINUX_IMMUTABLE", h.file()} {
				if !strings.Contains(p.log(), word) {
					t.Errorf("with %s it does not say %q:\n%s", seal, word, p.log())
				}
			}
			if exact, follows, fresh := h.reader.numbers(); exact != 1 || follows != 1 || fresh != 1 {
				t.Errorf("readers are at %d, %d, %d", exact, follows, fresh)
			}
			refused++
		}
	}
	// The advice in the message works.
	f, err := os.Open(h.file())
	ok(t, err)
	ok(t, memoryAppendOnly(f, false))
	ok(t, f.Close())
	h.flags[len(h.flags)-1] = "--seal=false"
	h.daemon = spawn(t, "memory-uncapped", append([]string{build(t, memoryCommand)}, h.args()...)...)
	h.reader.sees("without the seal", h.number)
	if now, _, err := h.look(); err != nil || now != id {
		t.Errorf("the region is %s and was %s: %v", now, id, err)
	}
	h.stop()
	h.flags[len(h.flags)-1] = "--seal"
	h.publish(1000)
	h.start()
	h.reader.sees("with the capability", h.number)
	h.reader.end()
	h.stop()
	report(t, "a successor that can't lift a seal says what to do, and harms nothing", fmt.Sprintf("%d starts without CAP_LINUX_IMMUTABLE, 1 after chattr -a, 1 with it", refused), "nothing")
}
