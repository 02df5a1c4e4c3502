package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/statesync/statesync/bench/peers/process"
)

// Redis is a running redis-server that keeps nothing on disk.
type Redis struct {
	Addr   string // host:port on loopback
	Socket string // path of its unix socket
	// Version is what it calls itself, such as 7.0.15.
	Version string
	*process.Process
}

// StartRedis starts Debian's redis-server with its files in dir, and returns
// when it answers. Arguments are its own flags, such as "--maxmemory", "64mb".
func StartRedis(ctx context.Context, dir string, args ...string) (*Redis, error) {
	binary, err := debian(ctx, "redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	// Another program may take the port between the choice and the start.
	for try := range 3 {
		var port int
		if port, err = freePort(); err != nil {
			return nil, err
		}
		var r *Redis
		if r, err = startRedis(ctx, binary, filepath.Join(dir, fmt.Sprintf("redis-%d-%d.sock", port, try)), dir, port, args); err == nil {
			return r, nil
		}
	}
	return nil, err
}

func startRedis(ctx context.Context, binary, socket, dir string, port int, args []string) (*Redis, error) {
	flags := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--unixsocket", socket,
		"--dir", dir, "--save", "", "--appendonly", "no", "--loglevel", "warning", "--daemonize", "no",
		"--logfile", filepath.Join(dir, "redis.log"),
	}, args...)
	p, err := process.Command(binary, flags...)
	if err != nil {
		return nil, err
	}
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var info string
		if info, err = c.Info(ctx, "server").Result(); err == nil {
			_, rest, _ := strings.Cut(info, "redis_version:")
			version, _, _ := strings.Cut(rest, "\r\n")
			return &Redis{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Socket: socket, Version: version, Process: p}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("redis-server (see %s) does not answer: %w", filepath.Join(dir, "redis.log"), errors.Join(err, p.Stop()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// debian is the path of a program of one of Debian's packages. As root it
// installs the package when it is missing.
func debian(ctx context.Context, program, pkg string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", program, pkg)
	}
	install := exec.CommandContext(ctx, "apt-get", "install", "-y", "-qq", pkg)
	install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get install %s: %w\n%s", pkg, err, out)
	}
	return exec.LookPath(program)
}

// freePort is a port that the kernel chose, and that is free again.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
