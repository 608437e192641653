import DiskImages
import Foundation
import GuestMemory
import Machine
import SavedState

extension TargetSession {
  /// Takes a copy of a machine that goes on running at the source, and keeps it until one of the two is lost.
  func standBy() throws {
    let hardware = try receiveHardware()
    guard let duty = target.protection else { return refuse(.other, "it takes no machine to protect") }
    guard takeSeat(), let made = takeMachine() else { return }
    guard let machine = made as? any ProtectableMachine else {
      return sendAway(made, because: TeleportError.refused("this machine cannot be protected"))
    }
    let keeper: Standby
    do {
      keeper = try agree(machine, hardware, duty)
    } catch {
      return sendAway(made, because: error)
    }
    target.onState(.standby(from: sourceName))
    let end = keeper.run()
    switch end {
    case .takesOver(let epoch, let isAsked):
      target.onState(.takingOver(epoch: epoch))
      takeOver(made, tellsSource: isAsked)
    case .dropped(let reason):
      machine.unlockMedia()
      machine.powerOff()
      target.desk.settle(transfer, .discarded)
      refuse(.other, reason)
      target.onState(.dropped(reason: reason))
      if keeper.isDismissed { target.onDismissal() }
    }
  }

  private func agree(
    _ machine: any ProtectableMachine, _ source: HardwareDescription, _ duty: ProtectionDuty
  ) throws -> Standby {
    let mine = try machine.hardwareDescription()
    let mismatches = HardwareCheck.compare(source: source, target: mine, media: .sized)
    guard mismatches.isEmpty else { throw TeleportError.hardware(mismatches, machine: options.name) }
    let shared = source.storage.filter { slot in
      guard slot.isWritten, let medium = slot.medium else { return false }
      return mine.storage.contains { other in
        other.place == slot.place && other.medium.map { medium.doubt(about: $0, isWritten: true) == nil } == true
      }
    }.map(\.place)
    let consent = Message.Accept(transfer: transfer, anchors: [], shared: shared, takesDifferences: true)
    try link.send(.accept, Message.encode(consent), timeoutMS: options.timeoutMS)
    let frame = try link.receive(timeoutMS: options.timeoutMS, "what is to be protected").expect(.protect)
    let wish = try Message.decode(Message.Protect.self, frame)
    target.reprotection = try wish.reprotection?.checked()
    let disks = machine.writtenDisks
    let sizes = try wish.disks.map { place in
      guard let disk = disks.first(where: { $0.place == place }) else {
        throw TeleportError.damaged("a disk that is not there")
      }
      if let obstacle = duty.obstacle(place), try !isBlank(machine, disk) { throw TeleportError.refused(obstacle) }
      return disk.size
    }
    guard sizes == wish.sizes else { throw TeleportError.damaged("disks of other sizes") }
    let witness = try duty.witness(wish.witness, wish.machine)
    if shared.isEmpty { try machine.lockMedia() } else { try machine.shareMedia() }
    try duty.overwrites(wish.disks)
    try link.send(.ready, timeoutMS: options.timeoutMS)
    var progress = ProtectionProgress(role: .backup, state: .synchronizing)
    progress.peer = link.remoteHost ?? sourceName
    progress.witness = witness.text
    let target = target
    return Standby(
      machine: machine, link: link, session: wish.session, witness: witness, disks: wish.disks, sizes: sizes,
      budget: target.deviceBudget, silenceMS: options.silenceMS, progress: progress,
      isStopping: { target.desk.isStopping }, isWanted: { target.takeWish() },
      clearWake: { target.sessionWake.clear() },
      onProgress: target.onProtection)
  }

  /// Whether a disk holds nothing but zeros.
  private func isBlank(
    _ machine: any ProtectableMachine, _ disk: (place: HardwareDescription.StorageSlot.Place, size: UInt64)
  ) throws -> Bool {
    var offset: UInt64 = 0
    while offset < disk.size {
      let count = Int(min(1 << 20, disk.size - offset))
      let bytes = try machine.readDisk(at: disk.place, offset: offset, count: count)
      guard bytes.withUnsafeBytes(\.isZero) else { return false }
      offset += UInt64(count)
    }
    return true
  }

  /// The machine is this host's; its state is loaded.
  private func takeOver(_ machine: Machine, tellsSource: Bool) {
    link.ignoreWake()
    try? target.records(record(.owned), false)
    target.desk.settle(transfer, .running)
    if tellsSource { try? link.send(.running, timeoutMS: 1000) }
    link.close()
    start(machine, paused: false)
    try? target.records(record(.owned), true)
    handOn(machine, [:])
    target.endListening()
  }
}
