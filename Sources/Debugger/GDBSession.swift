import GuestMemory
import Machine
import X86

/// One debugger's conversation: packets in, packets out ("Debugging with GDB", appendix E). All CPUs stop and go together;
/// each is a thread, with its number from 1. A stopped machine is paused: its clock stands.
///
/// Knows no socket: `GDBServer` brings the packets. Used by one thread.
final class GDBSession {
  /// What follows a packet.
  enum Answer: Equatable {
    /// Sent at once.
    case reply(String)
    /// The machine runs: the answer comes when it stops.
    case running
    /// After the reply the debugger is gone.
    case end(String)
  }

  private let machine: any DebuggedMachine
  private let vm: VirtualMachine
  private let description: TargetDescription
  private var breakpoints: Set<Stop> = []
  private var watchpoints: [Watchpoint] = []
  /// The CPU that registers and memory are of.
  private var current = 0
  private var isPhysical = false
  private var tellsKind = false
  private(set) var isStopped = true
  /// Acknowledgements are off.
  private(set) var isReliable = false
  /// Whether the debugger wants the machine to stop: a step over many instructions ends.
  var wantsStop: () -> Bool = { false }
  /// Text for the debugger's user, sent before the answer.
  private(set) var output: [String] = []

  private struct Stop: Hashable {
    var address: UInt64
    var isHardware: Bool
  }

  /// Stops the machine.
  /// - Throws: when there is none that can be stopped.
  init(_ machine: any DebuggedMachine, _ architecture: DebuggedArchitecture) throws {
    try machine.pauseForDebugger()
    guard let vm = machine.debuggedMachine else { throw DebuggerError.noMachine }
    self.machine = machine
    self.vm = vm
    description = TargetDescription(architecture)
  }

  // MARK: Stopping

  /// The machine has stopped, or is to: by a CPU's own stop, by its user or by the debugger's.
  /// - Returns: what to tell the debugger; nil: it has been told, or runs still.
  func stop() -> String? {
    guard !isStopped else { return nil }
    do {
      try machine.pauseForDebugger()
    } catch {
      // It is being ended, saved or moved: whoever does that says so.
      return nil
    }
    isStopped = true
    let found = vm.inspect { cpus -> (Int, DebuggerHit)? in
      for cpu in cpus { if let hit = cpu.takeDebuggerHit() { return (cpu.index, hit) } }
      return nil
    }
    guard let (cpu, hit) = found else { return reply(signal: 2, "") }
    current = cpu
    return reply(hit)
  }

  private func reply(_ hit: DebuggerHit) -> String {
    switch hit {
    case .breakpoint(let place):
      guard tellsKind else { return reply(signal: 5, "") }
      let isHardware = !breakpoints.contains(Stop(address: place, isHardware: false))
      return reply(signal: 5, isHardware ? "hwbreak:;" : "swbreak:;")
    case .watchpoint(let watchpoint):
      let name = [.write: "watch", .read: "rwatch", .any: "awatch"][watchpoint.access] ?? "watch"
      return reply(signal: 5, "\(name):\(String(watchpoint.address, radix: 16));")
    }
  }

  private func reply(signal: Int, _ why: String) -> String {
    "T" + Hex.text([UInt8(signal)]) + "thread:\(String(current + 1, radix: 16));" + why
  }

  /// The debugger is gone, or is to be: the machine is as if it had not been there.
  /// - Parameter runs: whether it shall run on.
  func leave(runs: Bool) {
    breakpoints = []
    watchpoints = []
    applyStops()
    vm.inspect { cpus in for cpu in cpus { _ = cpu.takeDebuggerHit() } }
    if runs, !machine.isRunning { try? machine.resumeForDebugger() }
  }

  private func applyStops() {
    let places = Set(breakpoints.map(\.address))
    vm.inspect { cpus in
      for cpu in cpus { cpu.setDebuggerStops(breakpoints: places, watchpoints: watchpoints) }
    }
  }

  // MARK: Packets

  /// Does what a packet asks for. An unknown one gets the empty reply.
  func take(_ payload: [UInt8]) -> Answer {
    output = []
    guard let letter = payload.first else { return .reply("") }
    if letter == UInt8(ascii: "X") { return .reply(writeBinary(payload)) }
    let text = String(decoding: payload, as: UTF8.self)
    let rest = text.dropFirst()
    guard isStopped else { return .reply("E01") }
    switch Character(UnicodeScalar(letter)) {
    case "?": return .reply(reply(signal: 5, ""))
    case "g": return .reply(readAll())
    case "G": return .reply(writeAll(rest))
    case "p": return .reply(readOne(rest))
    case "P": return .reply(writeOne(rest))
    case "m": return .reply(readMemory(rest))
    case "M": return .reply(writeMemory(rest))
    case "Z", "z": return .reply(change(rest, adds: letter == UInt8(ascii: "Z")))
    case "H": return .reply(select(rest))
    case "T": return .reply(thread(rest) == nil ? "E01" : "OK")
    case "c": return go(to: rest)
    case "s": return step(from: rest)
    case "C": return go(to: "")
    case "S": return step(from: "")
    case "D": return .end("OK")
    case "k":
      machine.powerOffForDebugger()
      return .end("")
    case "v": return verb(text)
    case "q", "Q": return query(text)
    default: return .reply("")
    }
  }

  // MARK: Registers

  private func withCPU<T>(_ body: (CPU) -> T) -> T { vm.inspect { cpus in body(cpus[current]) } }

  private func readAll() -> String {
    withCPU { cpu in
      description.registers.indices.map { Hex.text(description.read($0, cpu) ?? []) }.joined()
    }
  }

  private func writeAll(_ digits: Substring) -> String {
    guard var bytes = Hex.bytes(digits)?[...] else { return "E01" }
    return withCPU { cpu in
      var isDone = true
      for (number, register) in description.registers.enumerated() {
        guard bytes.count >= register.bits / 8 else { return "E01" }
        isDone = description.write(number, Array(bytes.prefix(register.bits / 8)), cpu) && isDone
        bytes = bytes.dropFirst(register.bits / 8)
      }
      return isDone ? "OK" : "E01"
    }
  }

  private func readOne(_ digits: Substring) -> String {
    guard let number = Hex.number(digits), number < 1000 else { return "E01" }
    return withCPU { description.read(Int(number), $0) }.map { Hex.text($0) } ?? "E01"
  }

  private func writeOne(_ words: Substring) -> String {
    let parts = words.split(separator: "=")
    guard parts.count == 2, let number = Hex.number(parts[0]), number < 1000, let value = Hex.bytes(parts[1]) else {
      return "E01"
    }
    return withCPU { description.write(Int(number), value, $0) } ? "OK" : "E01"
  }

  // MARK: Memory

  /// Pieces of guest-physical memory that hold `count` bytes from an address on; nil when one of them is not memory.
  private func pieces(_ address: UInt64, _ count: Int, writes: Bool) -> [(physical: UInt64, count: Int)]? {
    withCPU { cpu in
      var pieces: [(UInt64, Int)] = []
      var done = 0
      while done < count {
        let place = address &+ UInt64(done)
        let length = min(count - done, 4096 - Int(place & 0xfff))
        guard let physical = isPhysical ? place : cpu.debuggerPhysical(place) else { return nil }
        let target = cpu.memory.target(physical)
        // Reading a device may change it.
        guard !target.isEmpty, (writes ? target.write : target.read) != nil else { return nil }
        pieces.append((physical, length))
        done += length
      }
      return pieces
    }
  }

  private func range(_ words: Substring) -> (address: UInt64, count: Int)? {
    let parts = words.split(separator: ",", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = Hex.number(parts[0]), let count = Hex.number(parts[1]), count <= 1 << 16
    else {
      return nil
    }
    return (address, Int(count))
  }

  private func readMemory(_ words: Substring) -> String {
    guard let (address, count) = range(words) else { return "E01" }
    let most = min(count, GDBFramer.limit / 2 - 16)
    guard let pieces = pieces(address, most, writes: false) else { return "E14" }
    var bytes = [UInt8](repeating: 0, count: most)
    vm.withMemory { memory in
      bytes.withUnsafeMutableBytes { room in
        var done = 0
        for piece in pieces {
          memory.read(piece.physical, into: UnsafeMutableRawBufferPointer(rebasing: room[done..<done + piece.count]))
          done += piece.count
        }
      }
    }
    return Hex.text(bytes)
  }

  private func writeMemory(_ words: Substring) -> String {
    let parts = words.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let (address, count) = range(parts[0]), let bytes = Hex.bytes(parts[1]),
      bytes.count == count
    else { return "E01" }
    return write(bytes, address)
  }

  /// `X` address `,` length `:` bytes.
  private func writeBinary(_ payload: [UInt8]) -> String {
    guard isStopped, let colon = payload.firstIndex(of: UInt8(ascii: ":")),
      let (address, count) = range(String(decoding: payload[1..<colon], as: UTF8.self)[...])
    else { return "E01" }
    let bytes = Array(payload[(colon + 1)...])
    return bytes.count == count ? write(bytes, address) : "E01"
  }

  private func write(_ bytes: [UInt8], _ address: UInt64) -> String {
    guard let pieces = pieces(address, bytes.count, writes: true) else { return "E14" }
    vm.withMemory { memory in
      var done = 0
      for piece in pieces {
        bytes[done..<done + piece.count].withUnsafeBytes { memory.write(piece.physical, from: $0) }
        done += piece.count
      }
    }
    return "OK"
  }

  // MARK: Stops

  /// More than anybody sets by hand.
  private static let mostStops = 4096

  private func change(_ words: Substring, adds: Bool) -> String {
    let parts = words.prefix { $0 != ";" }.split(separator: ",")
    guard parts.count == 3, let address = Hex.number(parts[1]), let length = Hex.number(parts[2]) else { return "E01" }
    guard !adds || breakpoints.count + watchpoints.count < Self.mostStops else { return "E0c" }
    switch parts[0] {
    case "0", "1":
      let stop = Stop(address: address, isHardware: parts[0] == "1")
      if adds { breakpoints.insert(stop) } else { breakpoints.remove(stop) }
    case "2", "3", "4":
      guard length > 0, length <= 1 << 20 else { return "E01" }
      let access: Watchpoint.Access = parts[0] == "2" ? .write : parts[0] == "3" ? .read : .any
      let watchpoint = Watchpoint(address: address, length: length, access: access)
      watchpoints.removeAll { $0 == watchpoint }
      if adds { watchpoints.append(watchpoint) }
    default: return ""
    }
    applyStops()
    return "OK"
  }

  // MARK: Threads

  private var cpuCount: Int { vm.configuration.cpus }

  /// The index of the CPU whose number it is; 0 and -1 mean any.
  private func thread(_ text: some StringProtocol) -> Int? {
    if text == "-1" || text == "0" { return current }
    guard let number = Hex.number(text), number >= 1, number <= UInt64(cpuCount) else { return nil }
    return Int(number) - 1
  }

  private func select(_ words: Substring) -> String {
    guard let kind = words.first, let index = thread(words.dropFirst()) else { return "E01" }
    // Which ones shall run is said by vCont.
    if kind == "g" { current = index }
    return "OK"
  }

  // MARK: Running

  private func go(to words: Substring) -> Answer {
    if !words.isEmpty {
      guard let address = Hex.number(words), setPC(address) else { return .reply("E01") }
    }
    vm.passBreakpoints()
    isStopped = false
    do {
      try machine.resumeForDebugger()
      return .running
    } catch {
      isStopped = true
      output = ["\(error)\n"]
      return .reply("E01")
    }
  }

  private func setPC(_ address: UInt64) -> Bool { withCPU { description.setProgramCounter(address, $0) } }

  private func step(from words: Substring) -> Answer {
    if !words.isEmpty {
      guard let address = Hex.number(words), setPC(address) else { return .reply("E01") }
    }
    return step(while: { _ in false })
  }

  /// - Parameter isWithin: whether to go on, by the instruction pointer as the debugger knows it.
  private func step(while isWithin: @escaping (UInt64) -> Bool) -> Answer {
    var goesOn = true
    while goesOn {
      // In pieces, so that others come to the machine in between.
      var turns = 0
      let isDone = vm.step(cpu: current) { cpu in
        turns += 1
        let place = description.programCounter(cpu)
        goesOn =
          isWithin(place) && cpu.isActive && !cpu.holdsDebuggerHit
          && !breakpoints.contains { $0.address == place }
        return goesOn && turns < Self.stepsInOnePiece
      }
      guard isDone else { return .reply("E01") }
      if wantsStop() { goesOn = false }
    }
    if let hit = withCPU({ $0.takeDebuggerHit() }) { return .reply(reply(hit)) }
    return .reply(reply(signal: 5, ""))
  }

  private static let stepsInOnePiece = 1000

  private func verb(_ text: String) -> Answer {
    if text == "vCont?" { return .reply("vCont;c;C;s;S;r") }
    guard text.hasPrefix("vCont;") else { return .reply("") }
    // The first action that fits a thread counts: one that steps is named, and the others rest meanwhile.
    for action in text.dropFirst("vCont;".count).split(separator: ";") {
      let parts = action.split(separator: ":", maxSplits: 1)
      guard let verb = parts.first else { return .reply("E01") }
      guard verb.hasPrefix("s") || verb.hasPrefix("S") || verb.hasPrefix("r") else { continue }
      guard let index = parts.count == 2 ? thread(parts[1]) : current else { return .reply("E01") }
      current = index
      guard verb.hasPrefix("r") else { return step(while: { _ in false }) }
      let ends = verb.dropFirst().split(separator: ",").compactMap { Hex.number($0) }
      guard ends.count == 2 else { return .reply("E01") }
      return step(while: { $0 >= ends[0] && $0 < ends[1] })
    }
    return go(to: "")
  }

  // MARK: Queries

  private func query(_ text: String) -> Answer {
    let name = text.prefix { $0 != ":" && $0 != "," }
    switch name {
    case "qSupported":
      tellsKind = text.contains("swbreak+") && text.contains("hwbreak+")
      return .reply(
        "PacketSize=\(String(GDBFramer.limit, radix: 16));qXfer:features:read+;vContSupported+;QStartNoAckMode+;swbreak+;"
          + "hwbreak+")
    case "QStartNoAckMode":
      isReliable = true
      return .reply("OK")
    case "qXfer": return .reply(transfer(text))
    case "qAttached": return .reply("1")
    case "qC": return .reply("QC\(String(current + 1, radix: 16))")
    case "qfThreadInfo":
      return .reply("m" + (1...cpuCount).map { String($0, radix: 16) }.joined(separator: ","))
    case "qsThreadInfo": return .reply("l")
    case "qThreadExtraInfo":
      guard let index = thread(text.dropFirst("qThreadExtraInfo,".count)) else { return .reply("E01") }
      let isActive = vm.inspect { cpus in cpus[index].isActive }
      return .reply(Hex.text("CPU \(index) [\(isActive ? "running" : "halted")]".utf8))
    case "qSymbol": return .reply("OK")
    case "qqemu.PhyMemMode": return .reply(isPhysical ? "1" : "0")
    case "Qqemu.PhyMemMode":
      isPhysical = text.hasSuffix(":1")
      return .reply("OK")
    case "qRcmd":
      guard let bytes = Hex.bytes(text.dropFirst("qRcmd,".count)) else { return .reply("E01") }
      output = [monitor(String(decoding: bytes, as: UTF8.self))]
      return .reply("OK")
    default: return .reply("")
    }
  }

  /// qXfer:features:read:target.xml:OFFSET,LENGTH
  private func transfer(_ text: String) -> String {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 5, parts[1] == "features", parts[2] == "read" else { return "" }
    guard parts[3] == "target.xml", let (offset, count) = range(parts[4]) else { return "E00" }
    let bytes = Array(description.xml.utf8)
    guard offset <= bytes.count else { return "E01" }
    let piece = bytes[Int(offset)..<min(bytes.count, Int(offset) + min(count, GDBFramer.limit - 64))]
    return (Int(offset) + piece.count < bytes.count ? "m" : "l") + String(decoding: piece, as: UTF8.self)
  }

  // MARK: Monitor commands

  private static let help = """
    monitor physical on|off   whether addresses of memory are guest-physical ones, for x and set
    monitor registers         all registers of all CPUs
    monitor translate ADDRESS the guest-physical address of a linear one (hexadecimal)
    monitor info WHAT         \(VirtualMachine.infoTopics.joined(separator: ", "))
    monitor reset             the reset button; the machine stays stopped

    """

  private func monitor(_ line: String) -> String {
    let words = line.split(separator: " ").map(String.init)
    switch (words.first, words.dropFirst().first) {
    case ("physical", "on"): isPhysical = true
    case ("physical", "off"): isPhysical = false
    case ("registers", nil): return vm.registers() + "\n"
    case ("translate", let address?):
      let digits = address.hasPrefix("0x") ? address.dropFirst(2) : address[...]
      guard let linear = Hex.number(digits) else { return "\"\(address)\" is no hexadecimal address\n" }
      guard let physical = withCPU({ $0.debuggerPhysical(linear) }) else { return "not mapped\n" }
      return "0x" + String(physical, radix: 16) + "\n"
    case ("info", let topic?):
      do { return try vm.info(topic) + "\n" } catch { return Self.help }
    case ("reset", nil):
      do { try machine.resetForDebugger() } catch { return "\(error)\n" }
    default: return Self.help
    }
    return ""
  }
}

/// Why there is nothing to debug.
public enum DebuggerError: Error {
  /// The machine has no CPUs yet: it waits for its teleport.
  case noMachine
}
