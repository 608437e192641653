import Devices
import Foundation
import HostNetwork

extension MachineConfiguration {
  /// How many network cards a machine may have.
  public static let networkAdapterLimit = 8

  /// A network card and what it is plugged into. `slot` is 1 to 8, as in the setting `nic1`.
  public struct NetworkAdapter: Codable, Equatable, Sendable {
    /// What the card's cable leads to.
    public enum Network: String, Codable, CaseIterable, Sendable {
      /// Nowhere: what is sent is gone.
      case null
      /// The host's network, behind address translation.
      case nat
      /// An interface of the host's.
      case bridged
      /// A network of this user's machines on this host.
      case intnet
      /// A stream of frames to another program.
      case stream
    }

    /// The card as the guest sees it. To add one: a case here, and how it is made in `NetworkPart`.
    public enum Model: String, Codable, CaseIterable, Sendable {
      /// Intel 82540EM ("e1000").
      case e1000 = "82540EM"
      case virtio
      /// AMD Am79C973 ("PCnet-FAST III").
      case pcnet = "Am79C973"
      /// Realtek RTL8029AS, and its elder on the ISA bus.
      case ne2000PCI = "NE2000PCI"
      case ne2000ISA = "NE2000ISA"
    }

    /// Its number, 1 to 8.
    public var slot: Int
    /// What its cable leads to.
    public var network: Network
    /// The card as the guest sees it.
    public var model = Model.e1000
    /// Twelve hexadecimal digits in upper case.
    public var macAddress: String
    /// The cable is in.
    public var isCableConnected = true
    /// It has its boot ROM, in a machine that boots from the network.
    public var hasBootROM = true
    /// When it is tried in a boot from the network: 1 first, 4 late, 0 after all others.
    public var bootPriority = 0
    /// The network behind address translation, as "10.0.2.0/24".
    public var natNetwork = NATConfiguration().text
    /// Port forwards, as `PortForward` reads them.
    public var forwards: [String] = []
    /// Its flows go on by way of this host when the machine is teleported to another.
    public var isAnchored = true
    /// The folder whose files a guest on nat gets by TFTP.
    public var tftpFolder: String?
    /// Which of them it boots from.
    public var tftpFile: String?
    /// The tap or bridge of a bridged card.
    public var bridgeAdapter: String?
    /// The name of the internal network.
    public var internalNetwork = "intnet"
    /// Where the stream leads, as `StreamPlace` reads it.
    public var stream: String?
    /// Its frames are written to a file.
    public var isTraced = false
    /// Where the trace goes; nil: nic1.pcap in the machine's folder.
    public var traceFile: String?

    public init(slot: Int, network: Network = .nat, macAddress: String = Self.newAddress()) {
      self.slot = slot
      self.network = network
      self.macAddress = macAddress
    }

    /// An address of local administration that no other card is likely to have: 32 bits of it are random.
    public static func newAddress() -> String {
      MACAddress([0x52, 0x54] + (0..<4).map { _ in UInt8.random(in: 0...255) })?.digits ?? ""
    }

    /// Ports and interrupt of the first NE2000 on the ISA bus, of the second and so on: there is no place for more.
    public static let isaPlaces: [(ioBase: UInt16, irq: Int)] = [(0x300, 10), (0x320, 5), (0x340, 11)]

    /// The address as the card has it.
    public var address: MACAddress? { MACAddress(macAddress) }
    /// The network behind address translation, with the forwards. Values that are none are left out: `HardwareLimits`
    /// refuses them.
    public var natConfiguration: NATConfiguration {
      let rules = forwards.compactMap { try? PortForward($0) }
      var result = (try? NATConfiguration(network: natNetwork, forwards: rules)) ?? NATConfiguration()
      result.bootFile = tftpFolder == nil ? nil : tftpFile
      return result
    }
  }
}

extension MACAddress {
  /// Twelve hexadecimal digits in upper case, as settings have it.
  public var digits: String { description.replacing(":", with: "").uppercased() }
}
