import Devices
import HostNetwork

extension MachineConfiguration.NetworkAdapter {
  static let fields: [SettingField<Self>] = [
    .choice("network", \.network).required, .choice("type", \.model),
    checked("mac-address", \.macAddress, parse: address).required, .flag("cable-connected", \.isCableConnected),
    .flag("boot-rom", \.hasBootROM), .number("boot-priority", bootPriorities, \.bootPriority).optional,
    checked("nat-net", \.natNetwork, parse: network),
    SettingField(
      SettingKey("nat-forward", .list(.text), fallback: .list([])),
      read: { $0.forwards.isEmpty ? nil : .list($0.forwards.map { .text($0) }) },
      write: { (adapter: inout Self, value: SettingValue) throws(SettingPathFailure) in
        guard case .list(let values) = value else { return }
        adapter.forwards = []
        for (index, value) in values.enumerated() {
          do throws(SettingFailure) {
            try adapter.add(forward: value.word())
          } catch {
            throw SettingPathFailure(path: [String(index)], failure: error)
          }
        }
      }),
    .flag("nat-anchor", \.isAnchored), .text("nat-tftp-prefix", \.tftpFolder), .text("nat-tftp-file", \.tftpFile),
    .text("bridge-adapter", \.bridgeAdapter), checked("intnet", \.internalNetwork, parse: internalName),
    .text("stream", \.stream), .flag("trace", \.isTraced), .text("trace-file", \.traceFile),
  ]

  /// A text of some form.
  private static func checked(
    _ name: String, _ path: any WritableKeyPath<Self, String> & Sendable,
    parse: @escaping @Sendable (String) throws(SettingFailure) -> String
  ) -> SettingField<Self> {
    SettingField(
      SettingKey(name, .text), read: { .text($0[keyPath: path]) },
      write: { (adapter: inout Self, value: SettingValue) throws(SettingPathFailure) in
        do throws(SettingFailure) {
          adapter[keyPath: path] = try parse(value.word())
        } catch {
          throw SettingPathFailure(path: [], failure: error)
        }
      })
  }

  // MARK: Options

  private static let bootPriorities = 0...4
  private static let addressForm = SettingForm.words("auto | ADDRESS", example: "525400AB12CD")
  private static let networkForm = SettingForm.words("NETWORK/BITS", example: "10.0.2.0/24")
  private static let forwardForm = SettingForm.words(
    "\(PortForward.form) | delete NAME", example: "ssh,tcp,,2222,,22")

  static let options: [SlotOption<Self>] = [
    choice(
      "nic", \.network, ["none"],
      about("Network card #", "What network card # is plugged into; none: there is no such card.", notice: .none),
      off: "none"),
    choice(
      "nic-type", \.model, [],
      about("Network card # type", "Which card network card # is.", fact: "nictype", notice: .value), absent: "none"),
    SlotOption(
      "mac-address", addressForm,
      about(
        "Network card # address", "Its Ethernet address; auto: a new one.", valueName: "auto|address",
        fact: "macaddress", notice: .value), absent: "none", read: { [$0.macAddress] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        adapter.macAddress = words == ["auto"] ? newAddress() : try address(words.joined(separator: " "))
      }),
    flag(
      "cable-connected", \.isCableConnected,
      about("Network card # cable", "Whether its cable is plugged in: on or off.", fact: "cableconnected")),
    flag(
      "nic-rom", \.hasBootROM,
      about(
        "Network card # boot ROM",
        "Whether it has a boot ROM in a machine that boots from the network: on or off, so that another card is "
          + "the one.", fact: "nicrom", notice: .value)),
    SlotOption(
      "nic-boot-prio", .number(bootPriorities),
      about(
        "Network card # boot priority",
        "When it is tried in a boot from the network: 1 first, then 2 to 4, last 0; cards that are equal in the order of their "
          + "numbers.", valueName: "priority", fact: "nicbootprio", notice: .value),
      read: { [String($0.bootPriority)] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        guard case .number(let number) = try SettingForm.number(bootPriorities).parse(words) else { return }
        adapter.bootPriority = number
      }),
    SlotOption(
      "nat-net", networkForm,
      about(
        "Network card # NAT network", "The network that a card on nat sees.", valueName: "network/bits", fact: "natnet"),
      read: { [$0.natNetwork] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        try adapter.change(network: words.joined(separator: " "))
      }),
    SlotOption(
      "nat-pf", forwardForm,
      about(
        "Network card # port forwards",
        "Adds a port forward of a card on nat, \(PortForward.form), or deletes one: delete NAME.",
        valueName: "rule", fact: "natpf"), takesWords: true, read: { $0.forwards },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in try adapter.change(forwards: words) }),
    flag(
      "nat-anchor", \.isAnchored,
      about(
        "Network card # anchor",
        "Whether connections of a card on nat outlive a teleport, by way of the host where they began: on or off, which also "
          + "ends those that this host still carries.", fact: "natanchor", change: .always)),
    SlotOption(
      "nat-tftp-prefix", .words("FOLDER", example: "/srv/tftp"),
      about(
        "Network card # TFTP folder", "The folder whose files a guest on nat gets by TFTP; empty: none.",
        valueName: "folder", fact: "nattftpprefix"), read: { [$0.tftpFolder ?? ""] },
      write: { adapter, words in
        let path = words.joined(separator: " ")
        adapter.tftpFolder = path.isEmpty ? nil : HostPath.absolute(path)
      }),
    SlotOption(
      "nat-tftp-file", .words("FILE", example: "pxelinux.0"),
      about(
        "Network card # boot file", "The file in it for guests that boot from the network; empty: none.",
        valueName: "file", fact: "nattftpfile"), read: { [$0.tftpFile ?? ""] },
      write: { adapter, words in
        let name = words.joined(separator: " ")
        adapter.tftpFile = name.isEmpty ? nil : name
      }),
    SlotOption(
      "bridge-adapter", .words(TapDevice.nameForm, example: "tap0"),
      about(
        "Network card # adapter", "The tap or bridge of the host that a bridged card is plugged into.",
        valueName: "interface", fact: "bridgeadapter"), read: { [$0.bridgeAdapter ?? ""] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        guard words.count == 1, TapDevice.isName(words[0]) else {
          throw .form(text: words.joined(separator: " "), expected: TapDevice.nameForm)
        }
        adapter.bridgeAdapter = words[0]
      }),
    SlotOption(
      "intnet", .words(InternalNetwork.nameForm, example: "lab"),
      about(
        "Network card # internal network", "The network of this user's machines that a card on intnet joins.",
        valueName: "network"), read: { [$0.internalNetwork] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        adapter.internalNetwork = try internalName(words.joined(separator: " "))
      }),
    SlotOption(
      "nic-stream", .words(StreamPlace.form, example: "/tmp/passt_1.socket"),
      about(
        "Network card # stream", "Where the frames of a card on stream go: \(StreamPlace.form).", valueName: "place",
        fact: "nicstream"), read: { [$0.stream ?? ""] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        adapter.stream = try place(words.joined(separator: " "))
      }),
    flag(
      "nic-trace", \.isTraced,
      about("Network card # trace", "Whether its frames are written to a file: on or off.", fact: "nictrace")),
    SlotOption(
      "nic-trace-file", .words("FILE", example: "/tmp/nic1.pcap"),
      about(
        "Network card # trace file",
        "Where they are written, in pcap's format; empty: nic#.pcap in the machine's folder.",
        valueName: "file", fact: "nictracefile"), read: { [$0.traceFile ?? ""] },
      write: { adapter, words in
        let path = words.joined(separator: " ")
        adapter.traceFile = path.isEmpty ? nil : HostPath.absolute(path)
      }),
  ]

  /// "nic-type" is VBoxManage's "nictype" too.
  private static func about(
    _ label: String, _ help: String, valueName: String? = nil, fact: String? = nil, notice: GuestNotice = .none,
    change: SettingChange? = nil
  ) -> SettingDescription<Self>.About {
    .init(
      label, help, valueName: valueName, fact: fact, aliases: fact.map { [$0] } ?? [], group: .network, notice: notice,
      change: change)
  }

  private static func choice<Choice: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, _ path: any WritableKeyPath<Self, Choice> & Sendable, _ more: [String],
    _ about: SettingDescription<Self>.About, off: String? = nil, absent: String? = nil
  ) -> SlotOption<Self> where Choice.RawValue == String {
    let form = SettingForm.choice(more + Choice.allCases.map(\.rawValue))
    return SlotOption(
      name, form, about, off: off, absent: absent, read: { [$0[keyPath: path].rawValue] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        guard let choice = Choice(rawValue: try form.parse(words).word()) else {
          throw .malformed(words: words, expected: form)
        }
        adapter[keyPath: path] = choice
      })
  }

  private static func flag(
    _ name: String, _ path: any WritableKeyPath<Self, Bool> & Sendable, _ about: SettingDescription<Self>.About
  ) -> SlotOption<Self> {
    SlotOption(
      name, .flag, about, read: { [$0[keyPath: path] ? "on" : "off"] },
      write: { (adapter: inout Self, words: [String]) throws(SettingFailure) in
        adapter[keyPath: path] = try SettingForm.flag.parse(words) == .flag(true)
      })
  }

  // MARK: Values

  private static func address(_ text: String) throws(SettingFailure) -> String {
    guard let address = MACAddress(text), !address.isMulticast, address.bytes != [0, 0, 0, 0, 0, 0] else {
      throw .form(
        text: text,
        expected:
          "twelve hexadecimal digits of which the second is even (the others are addresses of groups), as 525400AB12CD")
    }
    return address.digits
  }

  private static func internalName(_ text: String) throws(SettingFailure) -> String {
    guard InternalNetwork.isName(text) else { throw .form(text: text, expected: InternalNetwork.nameForm) }
    return text
  }

  /// What has no port is a path, which is made absolute.
  private static func place(_ text: String) throws(SettingFailure) -> String {
    let isListening = text.hasPrefix("listen:")
    let rest = isListening ? String(text.dropFirst("listen:".count)) : text
    let isPath = rest.contains("/") && !rest.isEmpty
    do throws(HostNetworkError) {
      return try StreamPlace((isListening ? "listen:" : "") + (isPath ? HostPath.absolute(rest) : rest)).text
    } catch {
      throw .refused(text: text, reason: error.description)
    }
  }

  private static func network(_ text: String) throws(SettingFailure) -> String {
    do throws(HostNetworkError) {
      return try NATConfiguration(network: text).text
    } catch {
      throw .refused(text: text, reason: error.description)
    }
  }

  /// Port forwards to guests' addresses of the network of before are deleted first.
  private mutating func change(network text: String) throws(SettingFailure) {
    do throws(HostNetworkError) {
      let network = try NATConfiguration(network: text)
      for rule in forwards.compactMap({ try? PortForward($0) }) {
        if let problem = network.problem(with: rule) { throw problem }
      }
      natNetwork = network.text
    } catch {
      throw .refused(text: text, reason: error.description)
    }
  }

  /// Takes the words of `--nat-pf1`: rules to be added, "delete NAME".
  private mutating func change(forwards words: [String]) throws(SettingFailure) {
    guard !words.isEmpty else { throw .malformed(words: words, expected: Self.forwardForm) }
    var rest = words[...]
    while let word = rest.popFirst() {
      guard word == "delete" else {
        try add(forward: word)
        continue
      }
      guard let name = rest.popFirst() else { throw .malformed(words: words, expected: Self.forwardForm) }
      let others = forwards.filter { (try? PortForward($0))?.name != name }
      guard others.count < forwards.count else {
        throw .refused(text: "delete \(name)", reason: "network card \(slot) has no port forward of that name")
      }
      forwards = others
    }
  }

  /// A rule that is there already, word for word, changes nothing.
  private mutating func add(forward text: String) throws(SettingFailure) {
    do throws(HostNetworkError) {
      let rule = try PortForward(text)
      if forwards.contains(rule.text) { return }
      if let problem = try NATConfiguration(network: natNetwork).problem(with: rule) { throw problem }
      for other in forwards.compactMap({ try? PortForward($0) }) {
        if let problem = rule.conflict(with: other) { throw problem }
      }
      guard forwards.count < NATConfiguration.forwardLimit else {
        throw HostNetworkError("a card has at most \(NATConfiguration.forwardLimit) port forwards")
      }
      forwards.append(rule.text)
    } catch {
      throw .refused(text: text, reason: error.description)
    }
  }
}
