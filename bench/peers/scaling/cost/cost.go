// Package cost says what a running process costs: processor time, as the
// scheduler accounts it in nanoseconds, and memory, in which a shared page counts
// by its number of sharers. Neither disturbs the process.
package cost

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the processor time that a process has used, in user and kernel mode.
func CPU(pid int) (time.Duration, error) {
	const schedClock = 2 // of a whole process: see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &t); err != nil {
		return 0, fmt.Errorf("the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// TotalCPU is that of several processes together.
func TotalCPU(pids []int) (total time.Duration, err error) {
	for _, pid := range pids {
		d, err := CPU(pid)
		if err != nil {
			return 0, err
		}
		total += d
	}
	return total, nil
}

// Memory is what a process has in memory, in bytes.
type Memory struct {
	RSS     int64 // all pages
	PSS     int64 // each page divided by the number of processes that map it
	Private int64 // pages that no other process maps
	Shmem   int64 // of PSS, the part in shared memory files
}

// MemoryOf reads it from the process's smaps_rollup.
func MemoryOf(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Memory{}, err
	}
	kib := map[string]int64{}
	for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 3 && fields[2] == "kB" {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				kib[fields[0]] = n
			}
		}
	}
	return Memory{
		RSS: kib["Rss:"] << 10, PSS: kib["Pss:"] << 10,
		Private: (kib["Private_Clean:"] + kib["Private_Dirty:"]) << 10,
		Shmem:   kib["Pss_Shmem:"] << 10,
	}, nil
}

// Blocks is the memory that a file in shared memory takes, in bytes; its holes
// take none.
func Blocks(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return st.Blocks * 512, nil
}

// Monotonic is a clock that all processes of a machine share.
func Monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}
