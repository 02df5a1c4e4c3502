package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what figures were measured on.
type Machine struct {
	CPU        string  `json:"cpu"`
	Processors int     `json:"processors"` // that Go uses
	MemoryGiB  float64 `json:"memory_gib"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Virtual    bool    `json:"virtual"` // a hypervisor is beneath
	Load       string  `json:"load"`    // the load averages when the run began
}

// ThisMachine looks at the machine.
func ThisMachine() Machine {
	m := Machine{Processors: runtime.GOMAXPROCS(0), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), ":")
			switch strings.TrimSpace(key) {
			case "model name":
				m.CPU = strings.TrimSpace(value)
			case "flags":
				m.Virtual = strings.Contains(value+" ", " hypervisor ")
			}
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryGiB = float64(info.Totalram*uint64(info.Unit)) / (1 << 30)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return m
}

// String is a clause of a sentence.
func (m Machine) String() string {
	kind := "a machine"
	if m.Virtual {
		kind = "a virtual machine"
	}
	return fmt.Sprintf("%s with %d processors (%s), %.0f GiB, %s, %s, load averages %s (1, 5, 15 minutes) at the start",
		kind, m.Processors, m.CPU, m.MemoryGiB, m.Kernel, m.Go, m.Load)
}

// Version of a Go module that this program was built with, "" if it was not.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return ""
}
