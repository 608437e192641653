import Devices
import Foundation
import SavedState
import X86

extension VirtualMachine {
  /// The machine's own section: what belongs to no device.
  private struct MachineState: Codable {
    /// Guest time in nanoseconds.
    var guestTime: UInt64
    var cpus: Int
    /// What was typed into a serial port that had no room for it yet, by slot.
    var typed: [Int: [UInt8]]?
  }

  /// Builds that took whatever was typed have saved more than `SerialPort.inputLimit`.
  private static let mostTyped = 64 << 20
  private static let machineSection = "machine"
  private static let machineKind = "vmctl-machine"

  /// The state of CPUs, devices and clock; RAM is not in it. The machine must be paused, or not started.
  public func saveState() throws -> [StateSection] {
    guard runState != .running else {
      throw MachineError.running
    }
    return try lock.withLock { try sections() }
  }

  /// At a safe point, with the devices paused.
  func sections() throws -> [StateSection] {
    let typed = board.serialPorts.mapValues(\.input.waiting).filter { !$0.value.isEmpty }
    let own = MachineState(
      guestTime: board.clock.now, cpus: board.cpus.count, typed: typed.isEmpty ? nil : typed)
    var sections = [try StateSection(name: Self.machineSection, kind: Self.machineKind, version: 1, state: own)]
    for cpu in board.cpus { sections.append(try cpu.save()) }
    for device in board.devices { sections.append(try device.save()) }
    return sections
  }

  /// Loads what `saveState` gave. The machine must not have been started; when this throws it is of no use any more.
  /// - Throws: `SavedStateError` naming the first section that is missing, unknown or refused.
  public func loadState(_ sections: [StateSection]) throws {
    guard runState == .stopped else { throw MachineError.alreadyStarted }
    var byName: [String: StateSection] = [:]
    for section in sections where byName.updateValue(section, forKey: section.name) != nil {
      throw SavedStateError.corrupt("section \(section.name) is there twice")
    }
    func take(_ name: String) throws -> StateSection {
      guard let section = byName.removeValue(forKey: name) else {
        throw SavedStateError.mismatch("the state has no section \(name)")
      }
      return section
    }
    try lock.withLock { () throws in
      let own = try take(Self.machineSection).decode(MachineState.self, kind: Self.machineKind, upTo: 1)
      guard own.cpus == board.cpus.count else {
        throw SavedStateError.mismatch("the state has \(own.cpus) CPUs, this machine \(board.cpus.count)")
      }
      board.clock.set(own.guestTime)
      for device in board.devices { try device.load(take(device.name)) }
      for cpu in board.cpus { try cpu.load(take("cpu\(cpu.index)")) }
      board.instructionClock?.follow(board.cpus[0])
      let most = own.typed?.values.map(\.count).max() ?? 0
      guard most <= Self.mostTyped else { throw SavedStateError.corrupt("\(most) bytes that were typed") }
      // It comes when the machine runs and the UART has room.
      for (slot, bytes) in own.typed ?? [:] { board.serialPorts[slot]?.restore(typed: bytes) }
      guard byName.isEmpty else {
        throw SavedStateError.unsupported("section \(byName.keys.sorted().joined(separator: ", ")) is not known here")
      }
    }
  }

  /// What another machine must have in common with this one to take over from it.
  public func hardwareDescription() throws -> HardwareDescription {
    let sections = try lock.withLock { () throws -> [HardwareDescription.DeviceVersion] in
      try board.devices.map {
        let section = try $0.save()
        return .init(name: section.name, kind: section.kind, version: section.version)
      }
    }
    var slots = board.storageSlots
    // What is only read does not change while it is looked at.
    for (slot, image) in board.media where !slot.isWritten {
      guard let index = slots.firstIndex(where: { $0.place == slot.place }) else { continue }
      slots[index].medium?.samples = try image.samples(.many)
    }
    return HardwareDescription(
      settings: configuration.noticeable, cpuidLeaves: board.profile.leaves, roms: board.roms, boot: board.bootFiles,
      storage: slots,
      controllers: configuration.storageControllers.map { .init(name: $0.name, bus: $0.bus) }, devices: sections)
  }
}
