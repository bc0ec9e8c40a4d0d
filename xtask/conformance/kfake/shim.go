// Package kfake stands where the tests of franz-go expect its fake broker: it starts real brokers
// instead, in processes of their own, and asks them over the wire what the fake knows of itself.
//
// HIGHWATER_BINARY names the broker. What only a fake can do, to answer requests in the broker's
// stead, is not there: the tests that want it are left out.
package kfake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const startLimit = 60 * time.Second

// At most so many clusters run at a time, whatever the tests do in parallel.
var running = make(chan struct{}, 2)

type settings struct {
	brokers int
	topics  []topics
	configs map[string]string
}

type topics struct {
	partitions int32
	names      []string
}

// Opt is a wish about a cluster.
type Opt struct{ apply func(*settings) }

// NumBrokers is how many brokers there are; three when nothing is said.
func NumBrokers(n int) Opt { return Opt{func(s *settings) { s.brokers = n }} }

// SeedTopics creates topics before the cluster is given away.
func SeedTopics(partitions int32, names ...string) Opt {
	return Opt{func(s *settings) { s.topics = append(s.topics, topics{partitions, names}) }}
}

// BrokerConfigs sets configurations of all brokers.
func BrokerConfigs(configs map[string]string) Opt {
	return Opt{func(s *settings) {
		for key, value := range configs {
			s.configs[key] = value
		}
	}}
}

// Cluster is running brokers.
type Cluster struct {
	directory string
	addresses []string
	processes []*exec.Cmd
	client    *kgo.Client
	closing   sync.Once
}

// GroupInfo is what brokers say of a group.
type GroupInfo struct {
	Group   string
	State   string
	Epoch   int32
	Members []GroupMember
	Commits map[string]map[int32]GroupCommit
}

// GroupCommit is one committed offset.
type GroupCommit struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	At          time.Time
}

// GroupMember is one member of a group.
type GroupMember struct {
	MemberID         string
	InstanceID       *string
	ClientID         string
	ClientHost       string
	SubscribedTopics []string
	Assignment       map[string][]int32
}

// NumAssigned is how many partitions the member has.
func (m *GroupMember) NumAssigned() int {
	n := 0
	for _, partitions := range m.Assignment {
		n += len(partitions)
	}
	return n
}

// NumAssigned is how many partitions all members have.
func (g *GroupInfo) NumAssigned() int {
	n := 0
	for i := range g.Members {
		n += g.Members[i].NumAssigned()
	}
	return n
}

// Fault is an answer in the broker's stead.
type Fault struct {
	Keys []kmsg.Key
	Err  *kerr.Error
	When func(kmsg.Request) bool
}

// Fault is what only a fake can do.
func (c *Cluster) Fault(Fault) { panic("a real broker has no faults to order") }

// ControlKey is what only a fake can do.
func (c *Cluster) ControlKey(int16, func(kmsg.Request) (kmsg.Response, error, bool)) {
	panic("a real broker cannot be controlled")
}

// NewCluster starts brokers and creates topics.
func NewCluster(opts ...Opt) (*Cluster, error) {
	wanted := settings{brokers: 3, configs: map[string]string{}}
	for _, opt := range opts {
		opt.apply(&wanted)
	}
	running <- struct{}{}
	directory, err := os.MkdirTemp("", "highwater-kfake-")
	if err != nil {
		<-running
		return nil, err
	}
	c := &Cluster{directory: directory}
	if err := c.start(wanted); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ListenAddrs is where clients begin.
func (c *Cluster) ListenAddrs() []string { return c.addresses }

// Close ends the brokers and removes what they stored.
func (c *Cluster) Close() {
	c.closing.Do(func() {
		if c.client != nil {
			c.client.Close()
		}
		for _, process := range c.processes {
			process.Process.Kill()
			process.Wait()
		}
		os.RemoveAll(c.directory)
		<-running
	})
}

func (c *Cluster) start(wanted settings) error {
	ports, err := freePorts(3 * wanted.brokers)
	if err != nil {
		return err
	}
	var voters []string
	for n := range wanted.brokers {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", n, ports[3*n+1]))
	}
	for n := range wanted.brokers {
		client, controller, admin := ports[3*n], ports[3*n+1], ports[3*n+2]
		lines := []string{
			fmt.Sprintf("node.id=%d", n),
			fmt.Sprintf("admin.listen=127.0.0.1:%d", admin),
			"log.dirs=" + filepath.Join(c.directory, fmt.Sprint(n)),
		}
		listeners := fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d", client)
		if wanted.brokers > 1 {
			listeners += fmt.Sprintf(",CONTROLLER://127.0.0.1:%d", controller)
			lines = append(lines, "cluster.id=kfake", "controller.quorum.voters="+strings.Join(voters, ","))
		}
		lines = append(lines, listeners)
		for key, value := range wanted.configs {
			lines = append(lines, key+"="+value)
		}
		file := filepath.Join(c.directory, fmt.Sprintf("%d.properties", n))
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(c.directory, fmt.Sprintf("%d.log", n)))
		if err != nil {
			return err
		}
		process := exec.Command(os.Getenv("HIGHWATER_BINARY"), "serve", "--config", file)
		process.Stdout, process.Stderr = log, log
		// Whatever ends the tests ends the brokers.
		process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := process.Start(); err != nil {
			return err
		}
		c.processes = append(c.processes, process)
		c.addresses = append(c.addresses, fmt.Sprintf("127.0.0.1:%d", client))
	}
	for n := range wanted.brokers {
		if err := waitReady(ports[3*n+2]); err != nil {
			return err
		}
	}
	c.client, err = kgo.NewClient(kgo.SeedBrokers(c.addresses...))
	if err != nil {
		return err
	}
	return c.create(wanted)
}

func (c *Cluster) create(wanted settings) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for _, topics := range wanted.topics {
		made, err := kadm.NewClient(c.client).CreateTopics(ctx, topics.partitions, -1, nil, topics.names...)
		if err == nil {
			err = made.Error()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WaitGroupStable waits until a group is stable with so many members; any number when negative.
func (c *Cluster) WaitGroupStable(ctx context.Context, group string, members int) (*GroupInfo, error) {
	for {
		g := c.GroupInfo(group)
		if g != nil && g.State == "Stable" && (members < 0 || len(g.Members) == members) {
			return g, nil
		}
		select {
		case <-ctx.Done():
			return g, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// GroupInfo is what the coordinator says of a group; nil when it knows none.
func (c *Cluster) GroupInfo(group string) *GroupInfo {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	info, err := c.describeConsumer(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kerr.UnsupportedVersion) {
		info, err = c.describeClassic(ctx, group)
	}
	if err != nil || info.State == "Dead" {
		return nil
	}
	info.Commits = c.commits(ctx, group)
	return info
}

func (c *Cluster) describeConsumer(ctx context.Context, group string) (*GroupInfo, error) {
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = []string{group}
	response, err := request.RequestWith(ctx, c.client)
	if err != nil {
		return nil, kerr.UnsupportedVersion
	}
	described := response.Groups[0]
	if err := kerr.ErrorForCode(described.ErrorCode); err != nil {
		return nil, err
	}
	info := &GroupInfo{Group: group, State: described.State, Epoch: described.Epoch}
	for _, member := range described.Members {
		assignment := map[string][]int32{}
		for _, topic := range member.Assignment.TopicPartitions {
			assignment[topic.Topic] = topic.Partitions
		}
		info.Members = append(info.Members, GroupMember{
			MemberID: member.MemberID, InstanceID: member.InstanceID, ClientID: member.ClientID, ClientHost: member.ClientHost,
			SubscribedTopics: member.SubscribedTopics, Assignment: assignment,
		})
	}
	return info, nil
}

func (c *Cluster) describeClassic(ctx context.Context, group string) (*GroupInfo, error) {
	described, err := kadm.NewClient(c.client).DescribeGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	found := described[group]
	if found.Err != nil {
		return nil, found.Err
	}
	info := &GroupInfo{Group: group, State: found.State}
	for _, member := range found.Members {
		of := GroupMember{
			MemberID: member.MemberID, InstanceID: member.InstanceID, ClientID: member.ClientID, ClientHost: member.ClientHost,
			Assignment: map[string][]int32{},
		}
		if joined, ok := member.Join.AsConsumer(); ok {
			of.SubscribedTopics = joined.Topics
		}
		if assigned, ok := member.Assigned.AsConsumer(); ok {
			for _, topic := range assigned.Topics {
				of.Assignment[topic.Topic] = topic.Partitions
			}
		}
		info.Members = append(info.Members, of)
	}
	return info, nil
}

func (c *Cluster) commits(ctx context.Context, group string) map[string]map[int32]GroupCommit {
	fetched, err := kadm.NewClient(c.client).FetchOffsets(ctx, group)
	if err != nil {
		return nil
	}
	commits := map[string]map[int32]GroupCommit{}
	for topic, partitions := range fetched {
		commits[topic] = map[int32]GroupCommit{}
		for partition, offset := range partitions {
			commits[topic][partition] = GroupCommit{Offset: offset.At, LeaderEpoch: offset.LeaderEpoch, Metadata: offset.Metadata}
		}
	}
	return commits
}

func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func waitReady(admin int) error {
	end := time.Now().Add(startLimit)
	for time.Now().Before(end) {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", admin))
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("a broker is not ready")
}
