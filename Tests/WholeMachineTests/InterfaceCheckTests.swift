import Foundation
import Testing

/// Interfaces of the host's are looked at before a service starts; in a network namespace of the test's own.
@Suite struct InterfaceCheckTests {
  static let why: String? =
    geteuid() != 0
    ? "needs root, for a network namespace"
    : access("/dev/net/tun", R_OK | W_OK) != 0
      ? "needs /dev/net/tun" : access("/run/systemd/system", F_OK) == 0 ? "systemd runs here" : nil

  private struct List: Decodable {
    struct Row: Decodable {
      struct Interface: Decodable {
        var card: Int
        var interface: String?
        var findings: [Int]
        var offloads: [String]?
      }
      var name: String
      var interfaces: [Interface]
    }
    var machines: [Row]
  }

  private struct Place {
    let host: TestHost
    let network: NetworkNamespace
    let folder: String

    init() throws {
      host = try TestHost()
      network = try NetworkNamespace()
      folder = host.folder
    }

    func shell(_ text: String) throws -> String { try NetworkLab.shell(network, folder, text) }

    func run(_ words: String...) throws -> TestHost.Outcome {
      var environment = host.environment
      environment["VMCTL_UNITS"] = folder + "/units"
      let (folder, all) = (folder, environment)
      let child = try network.run {
        try Child(TestHost.vmctl, words, environment: all, streams: .files(folder: folder, input: nil))
      }
      let status = try child.wait()
      return .init(status: status, output: child.output, errors: child.errors)
    }

    func interfaces(_ name: String) throws -> [List.Row.Interface] {
      let outcome = try run("service", "list", "--format", "json")
      let list = try JSONDecoder().decode(List.self, from: Data(outcome.output.utf8))
      return try #require(list.machines.first { $0.name == name }).interfaces
    }

    /// Whether an offload is on, asked of the kernel itself (ETHTOOL_GTSO and so on).
    func isOn(_ command: UInt8, _ interface: String) throws -> Bool {
      try network.run {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var value: [UInt8] = [command, 0, 0, 0, 0, 0, 0, 0]
        let status = value.withUnsafeMutableBytes { bytes in
          var request = [UInt8](repeating: 0, count: 40)
          for (index, byte) in interface.utf8.enumerated() { request[index] = byte }
          withUnsafeBytes(of: UInt(bitPattern: bytes.baseAddress)) { request.replaceSubrange(16..<24, with: $0) }
          return ioctl(descriptor, 0x8946, &request)
        }
        guard status == 0 else { throw Failure("ethtool ioctl: \(String(cString: strerror(errno)))") }
        return value[4] == 1
      }
    }
  }

  private static let gso: UInt8 = 0x23
  private static let gro: UInt8 = 0x2B
  private static let tso: UInt8 = 0x1E

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func findingsAreListedAndObstaclesRefuseAStart() throws {
    let place = try Place()
    _ = try place.shell(
      """
      for tap in tap0 tap1 tap2; do ip tuntap add $tap mode tap; ip link set $tap up; done
      ip addr add 192.0.2.1/24 dev tap1
      ip link add br0 type bridge; ip addr add 198.51.100.1/24 dev br0
      ip link add v0 type veth peer name v1
      """)
    let rom = try Guests.bareMetal("walker32.rom")
    try place.host.create("box", memory: 32, ["--firmware", rom, "--debug-ports", "on"])
    try place.host.create("other", memory: 32, ["--firmware", rom, "--debug-ports", "on"])
    let wanted: [(String, [Int])] = [
      ("tap0", []), ("tap1", [4]), ("nothing0", [1]), ("v0", [2]), ("lo", [2]), ("br0", []), ("tap2", [3]),
    ]
    for (index, (name, _)) in wanted.enumerated() {
      try place.host.modify("box", ["--nic\(index + 1)", "bridged", "--bridge-adapter\(index + 1)", name])
    }
    try place.host.modify("other", ["--nic1", "bridged", "--bridge-adapter1", "tap2"])
    #expect(try place.run("service", "add", "other").status == 0)
    #expect(try place.run("service", "start", "other").status == 0)
    let found = try place.interfaces("box")
    for (index, (name, findings)) in wanted.enumerated() {
      #expect(found[index].interface == name && found[index].findings == findings, "\(name): \(found[index])")
    }
    #expect(try place.interfaces("other")[0].findings == [], "its own")
    let long = try place.run("service", "list", "--long").output
    for text in [
      "2: bridged tap1 (4: it has the address 192.0.2.1; offloads",
      "3: bridged nothing0 (1: there is no such interface)",
      "4: bridged v0 (2: it is neither a tap nor a bridge)", "7: bridged tap2 (3: the machine \"other\" has it",
    ] {
      #expect(long.contains(text), "\(text) in \(long)")
    }
    #expect(try place.run("service", "add", "box").status == 0)
    for (card, text) in [
      (3, "network card 3 cannot have nothing0: there is no such interface (finding 1)"),
      (4, "network card 4 cannot have v0: it is neither a tap nor a bridge (finding 2)"),
      (5, "network card 5 cannot have lo: it is neither a tap nor a bridge (finding 2)"),
      (7, "network card 7 cannot have tap2: the machine \"other\" has it (finding 3)"),
    ] {
      let refused = try place.run("service", "start", "box")
      #expect(refused.status == 1 && refused.errors.contains(text), "\(refused.errors)")
      #expect(refused.errors.split(separator: "\n").count == 1)
      try place.host.modify("box", ["--nic\(card)", "none"])
    }
  }

  @Test(.enabled(if: why == nil, "\(why ?? "")"))
  func offloadsAreOffWhileAMachineRunsAndAsBeforeAfterwards() throws {
    let place = try Place()
    _ = try place.shell("for tap in tap0 tap1; do ip tuntap add $tap mode tap; ip link set $tap up; done")
    let rom = try Guests.bareMetal("walker32.rom")
    try place.host.create("box", memory: 32, ["--firmware", rom, "--debug-ports", "on"])
    try place.host.modify(
      "box",
      [
        "--nic1", "bridged", "--bridge-adapter1", "tap0", "--nic-type1", "Am79C973", "--nic2", "bridged",
        "--bridge-adapter2", "tap1", "--nic-type2", "virtio",
      ])
    #expect(try place.isOn(Self.gso, "tap0") && place.isOn(Self.gro, "tap0"), "a tap has them by itself")
    #expect(try place.run("service", "add", "box").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    #expect(try !place.isOn(Self.gso, "tap0") && !place.isOn(Self.gro, "tap0"))
    #expect(try !place.isOn(Self.tso, "tap0"), "nor what a tap gets when it is opened")
    #expect(try place.isOn(Self.gso, "tap1") && place.isOn(Self.tso, "tap1"), "a virtio card's guest does that work")
    let running = try place.interfaces("box")
    #expect(running[0].findings == [] && running[0].offloads == [])
    #expect(running[1].offloads?.contains("gso") == true)
    #expect(try place.run("service", "stop", "box").status == 0)
    #expect(try place.isOn(Self.gso, "tap0") && place.isOn(Self.gro, "tap0"))
    // After a death that nobody has cleaned up after, the next start knows what was on.
    #expect(try place.run("service", "start", "box").status == 0)
    try place.host.killMachine("box")
    #expect(try !place.isOn(Self.gso, "tap0"))
    #expect(try place.run("service", "add", "box", "--offloads", "keep").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    #expect(try place.isOn(Self.gso, "tap0"))
    #expect(try place.run("service", "stop", "box").status == 0)
    // Off for all.
    #expect(try place.run("service", "add", "box", "--offloads", "off").status == 0)
    #expect(try place.run("service", "start", "box").status == 0)
    #expect(try !place.isOn(Self.gso, "tap1"))
    #expect(try place.run("service", "stop", "box").status == 0)
    #expect(try place.isOn(Self.gso, "tap1"))
  }
}
