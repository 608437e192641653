import Foundation
import SavedState
import Testing

@testable import Machine

/// What a machine has written and told, from its own threads.
///
/// Apart from the machine's keeper: a callback that held the keeper could be the last to do so, and the machine would have to
/// end on one of its own threads, with its lock held.
private final class Recorder: @unchecked Sendable {
  let condition = NSCondition()
  var output: [UInt8]
  var told: [MachineEvent] = []

  init(before: String) { output = Array(before.utf8) }

  func note(_ body: (Recorder) -> Void) {
    condition.lock()
    body(self)
    condition.broadcast()
    condition.unlock()
  }
}

/// A machine that runs one of the bare-metal ROMs of firmware/guests, with what it has written and told.
final class BareMetalMachine: @unchecked Sendable {
  let vm: VirtualMachine
  private let recorder: Recorder

  /// Generous: what is waited for comes, sooner on a free host and later on a busy one.
  static let patience: TimeInterval = 300

  static func file(_ name: String) -> String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../../firmware/guests/\(name)").standardized.path
  }

  static func expected(_ guest: String) throws -> String {
    try String(contentsOfFile: file("\(guest).expected"), encoding: .utf8)
  }

  /// - Parameters: guest: as "hello". before: what an earlier machine had written, when this one goes on from its state.
  init(
    _ guest: String, memoryMB: Int = 16, cpus: Int = 1, before: String = "",
    _ change: (inout MachineConfiguration) -> Void = { _ in }
  ) throws {
    var configuration = MachineConfiguration()
    configuration.memoryMB = memoryMB
    configuration.vramMB = 1
    configuration.cpus = cpus
    configuration.firmware = Self.file("\(guest).rom")
    configuration.debugPorts = true
    configuration.verifyCode = true
    change(&configuration)
    vm = try VirtualMachine(configuration)
    let recorder = Recorder(before: before)
    self.recorder = recorder
    vm.connectSerial(slot: 1) { bytes in recorder.note { $0.output += bytes } }
    vm.onEvent = { event in recorder.note { $0.told.append(event) } }
  }

  /// Host code that the verifier cannot prove fails the test.
  deinit {
    vm.powerOff()
    for case .log(let line) in events where line.contains("code was refused") { Issue.record("\(line)") }
  }

  /// What the guest has written to COM1.
  var text: String {
    recorder.condition.withLock { String(decoding: recorder.output, as: UTF8.self) }.replacingOccurrences(
      of: "\r", with: "")
  }

  var events: [MachineEvent] { recorder.condition.withLock { recorder.told } }

  /// The status with which the guest has ended the machine by the debug exit port; nil: not yet.
  var exitStatus: Int32? {
    for case .exited(let status) in events { return status }
    return nil
  }

  var resets: Int { events.filter { if case .guestReset = $0 { true } else { false } }.count }
  var hasPoweredOff: Bool { events.contains { if case .poweredOff = $0 { true } else { false } } }

  /// Waits until the guest's writing or an event has made it so.
  @discardableResult
  func wait(
    for what: String, sourceLocation: SourceLocation = #_sourceLocation, _ isSo: (BareMetalMachine) -> Bool
  ) -> Bool {
    let end = Date(timeIntervalSinceNow: Self.patience)
    while !isSo(self) {
      recorder.condition.lock()
      _ = recorder.condition.wait(until: Date(timeIntervalSinceNow: 0.05))
      recorder.condition.unlock()
      if Date() > end {
        Issue.record("waited for \(what); the guest has written:\n\(text.suffix(500))", sourceLocation: sourceLocation)
        return false
      }
    }
    return true
  }

  /// Waits for one more heartbeat of a walker than there has been.
  func waitForHeartbeat(sourceLocation: SourceLocation = #_sourceLocation) {
    let seen = heartbeats
    wait(for: "a heartbeat", sourceLocation: sourceLocation) { $0.heartbeats > seen }
  }

  var heartbeats: Int { text.components(separatedBy: "heartbeat ").count - 1 }

  // MARK: From machine to machine

  struct Saved {
    var sections: [StateSection]
    var memory: [UInt8]
    var text: String
  }

  /// The whole state of a machine that does not run.
  func save() throws -> Saved {
    let memory = vm.memory
    let bytes = Array(UnsafeRawBufferPointer(start: memory.ram, count: memory.pageCount * 4096))
    return Saved(sections: try vm.saveState(), memory: bytes, text: text)
  }

  func load(_ saved: Saved) throws {
    saved.memory.withUnsafeBytes { vm.memory.ram.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    try vm.loadState(saved.sections)
  }
}

/// Runs its body on a thread again and again until it is stopped.
final class Nuisance: @unchecked Sendable {
  private let lock = NSLock()
  private var isOver = false
  private var turns = 0
  private let done = DispatchSemaphore(value: 0)

  init(_ body: @escaping @Sendable () -> Void) {
    let thread = Thread { [self] in
      while !lock.withLock({ isOver }) {
        body()
        lock.withLock { turns += 1 }
      }
      done.signal()
    }
    thread.start()
  }

  /// - Returns: how many turns there were.
  @discardableResult
  func stop() -> Int {
    lock.withLock { isOver = true }
    done.wait()
    return lock.withLock { turns }
  }
}
