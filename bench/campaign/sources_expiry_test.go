//go:build linux

package campaign

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// A signer's key and a bundle that expire while they are followed, and while each server
// says that nothing changed, are a trouble in the status, and readers keep what they have:
// under the same daemon, after a kill and after a boot. A key that is valid again, and a
// note that was signed again, end the trouble.
func TestSourcesExpire(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	h := newSourcesHost(t)
	h.git.push()
	h.bundle.push()
	d := h.start("")
	h.arrives(d, "at first")
	stopReading := h.reads()
	defer stopReading()

	allow := func(options string) {
		ok(t, os.WriteFile(h.signers+".new", []byte("ada@example.com "+options+h.signer), 0o600))
		ok(t, os.Rename(h.signers+".new", h.signers))
	}
	soon := time.Now().Truncate(time.Second).Add(2 * time.Second)
	allow(fmt.Sprintf("valid-before=%q ", soon.UTC().Format("20060102150405Z")))
	h.publish(1, h.bundle.number, time.Until(soon)+time.Millisecond, nil)
	h.git.trouble, h.bundle.trouble = "expired at "+soon.UTC().Format(time.RFC3339), "sequence 1 expired at "+soon.UTC().Format(time.RFC3339)
	for _, when := range []string{"as they expire", "after a kill", "after a boot"} {
		h.lives(d, h.tells(d), when)
		before := h.unchanged.Load()
		await(t, "answers that nothing changed", func() bool { return h.unchanged.Load() > before+1 })
		h.lives(d, h.tells(d), when+", while nothing changes")
		await(t, "the readers' values", func() bool { return h.has(h.git) && h.has(h.bundle) })
		switch when {
		case "as they expire":
			h.end(d)
		case "after a kill":
			ok(t, d.Process.Signal(syscall.SIGTERM))
			<-d.ended
			h.end(d)
			ok(t, os.RemoveAll(h.region))
		default:
			continue
		}
		d = h.start("")
	}
	allow("")
	h.publish(1, h.bundle.number, time.Hour, nil)
	h.git.trouble, h.bundle.trouble = "", ""
	h.arrives(d, "as they are valid again")
	h.end(d)
	stopReading()
	report(t, "a key or a bundle that expires takes no value away", "1 key and 1 bundle, followed through their end, a kill and a boot", "nothing")
}
