package network

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	bridgeName = "br0"
	nodeLink   = "eth0"
)

// EnsureBridge gives the namespace a bridge with the address, e.g. 10.89.0.1/24, unless it has one.
func EnsureBridge(namespace, address string) error {
	err := Within(namespace, func() error {
		bridge := &netlink.Bridge{LinkAttrs: linkAttrs(bridgeName)}
		if err := netlink.LinkAdd(bridge); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		link, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		if err := setAddress(link, address); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		return fmt.Errorf("make the bridge in network namespace %s: %w", namespace, err)
	}
	return nil
}

// Cable connects a node's namespace with the bridge in the control plane's.
type Cable struct {
	ControlPlane string // name of the control plane's network namespace
	Node         string // name of the node's
	Link         string // name of the cable's end in the control plane's
	Address      string // the node's, with prefix length: 10.89.0.11/24
	Gateway      string // the bridge's address
	Pods         string // the node's pod addresses, which the bridge's side routes to it: 10.244.1.0/24
}

// Connect lays the cable. One of that name left over from before is removed first.
func (c Cable) Connect() error {
	if err := c.connect(); err != nil {
		return fmt.Errorf("connect network namespace %s with %s: %w", c.Node, c.ControlPlane, err)
	}
	return nil
}

func (c Cable) connect() error {
	if err := c.Disconnect(); err != nil {
		return err
	}
	if err := Within(c.ControlPlane, c.connectBridge); err != nil {
		return err
	}
	if err := Within(c.Node, c.connectNode); err != nil {
		return err
	}
	return Within(c.ControlPlane, c.routePods)
}

func (c Cable) connectBridge() error {
	node, err := open(c.Node)
	if err != nil {
		return err
	}
	defer node.Close()
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	attrs := linkAttrs(c.Link)
	attrs.MasterIndex = bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nodeLink, PeerNamespace: netlink.NsFd(node)}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	return setUp(c.Link)
}

func (c Cable) connectNode() error {
	link, err := netlink.LinkByName(nodeLink)
	if err != nil {
		return err
	}
	if err := setAddress(link, c.Address); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(c.Gateway)})
}

func (c Cable) routePods() error {
	_, pods, err := net.ParseCIDR(c.Pods)
	if err != nil {
		return err
	}
	node, _, err := net.ParseCIDR(c.Address)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: pods, Gw: node})
}

// Disconnect removes the cable if it is there. It does so by name, because a link whose namespace has gone goes only
// some time later.
func (c Cable) Disconnect() error {
	if !Exists(c.ControlPlane) {
		return nil
	}
	err := Within(c.ControlPlane, func() error {
		link, err := netlink.LinkByName(c.Link)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		return fmt.Errorf("remove link %s from network namespace %s: %w", c.Link, c.ControlPlane, err)
	}
	return nil
}

func setAddress(link netlink.Link, address string) error {
	parsed, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, parsed)
}

func linkAttrs(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}
