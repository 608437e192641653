import Foundation
import HostNetwork
import Machine
import Synchronization

/// The trace of a network card: off, or a pcap file that grows.
final class NetworkTrace: Sendable {
  private struct State {
    var file: PcapFile?
    var path: String
    var vm: VirtualMachine?
    var slot = 0
  }

  private let state: Mutex<State>
  private let warn: @Sendable (String) -> Void

  /// Opens the file, when the definition wants a trace.
  /// - Throws: `HostNetworkError` when it cannot be written.
  init(
    _ adapter: MachineConfiguration.NetworkAdapter, folder: VMFolder, warn: @escaping @Sendable (String) -> Void
  ) throws {
    self.warn = warn
    let path = adapter.traceFile ?? "\(folder.path)/nic\(adapter.slot).pcap"
    state = Mutex(State(path: path))
    if adapter.isTraced { try set(true) }
  }

  /// Where frames are written now; nil: nowhere.
  var activeFile: String? { state.withLock { $0.file.flatMap { $0.isOpen ? $0.path : nil } } }

  func connect(_ vm: VirtualMachine, slot: Int) {
    let file = state.withLock { state in
      state.vm = vm
      state.slot = slot
      return state.file
    }
    Self.observe(vm, slot, file)
  }

  private static func observe(_ vm: VirtualMachine?, _ slot: Int, _ file: PcapFile?) {
    guard let file else { vm?.observeNetwork(slot: slot, nil); return }
    vm?.observeNetwork(slot: slot) { _, frame in file.add(frame) }
  }

  /// Switched on it begins a new file.
  func set(_ isOn: Bool) throws {
    let (path, old) = state.withLock { ($0.path, $0.file) }
    let isWriting = old?.isOpen == true
    guard isOn != isWriting else { return }
    let file = isOn ? try open(path) : nil
    replace(by: file)
  }

  /// From now on in another file, when the trace is on.
  func setFile(_ path: String) throws {
    let isOn = activeFile != nil
    let file = isOn ? try open(path) : nil
    state.withLock { $0.path = path }
    if isOn { replace(by: file) }
  }

  private func open(_ path: String) throws -> PcapFile {
    let warn = warn
    return try PcapFile(path: path) { reason in
      warn("its trace \(path) has ended, as it cannot be written (\(reason)); the machine runs on")
    }
  }

  private func replace(by file: PcapFile?) {
    let (old, vm, slot) = state.withLock { state in
      defer { state.file = file }
      return (state.file, state.vm, state.slot)
    }
    Self.observe(vm, slot, file)
    old?.finish()
  }

  func close() { replace(by: nil) }
}
