import CHost
import Devices
import GuestMemory
import X86

/// The CPUs, each joined to the devices by a `BoardEnvironment`.
final class CPUPart {
  let profile: CPUProfile
  let cpus: [CPU]
  let environments: [BoardEnvironment]

  /// - Throws: `MachineError` when there is no such profile.
  init(_ bench: Workbench, _ interrupts: InterruptPart, _ platform: PlatformPart) throws {
    let profile = try Self.profile(of: bench.configuration)
    let group = CPUGroup()
    var cpus: [CPU] = []
    var environments: [BoardEnvironment] = []
    for apic in interrupts.apics {
      let environment = BoardEnvironment(bench, interrupts.fabric, apic, platform.coprocessorError)
      let cpu = CPU(index: apic.index, profile: profile, memory: bench.memory, environment: environment)
      environment.cpu = cpu
      let configuration = bench.configuration
      cpu.accelerator =
        configuration.accelerator == .translator && !configuration.deterministic ? .translator : .interpreter
      cpu.verifiesCode = bench.configuration.verifyCode
      environment.connect()
      cpu.join(group)
      cpus.append(cpu)
      environments.append(environment)
    }
    if let clock = bench.instructionClock, let cpu = cpus.first { clock.follow(cpu) }
    self.profile = profile
    self.cpus = cpus
    self.environments = environments
    bench.memory.onMapChanged = { [unowned self] in
      for environment in self.environments { environment.post(UInt32(VM_PENDING_TLB_FLUSH)) }
    }
    bench.memory.onCodeWritten = { [unowned self] address, length in
      for cpu in self.cpus { cpu.codeOverwritten(physical: address, length: length) }
    }
    platform.onA20 = { [unowned self] in setA20($0) }
  }

  /// - Throws: `MachineError` when there is no such profile.
  static func profile(of configuration: MachineConfiguration) throws(MachineError) -> CPUProfile {
    guard var profile = CPUProfile.named(configuration.cpuProfile) else {
      throw .noSuchCPUProfile(configuration.cpuProfile, known: CPUProfile.all.map(\.name))
    }
    profile = CPUPortability.apply(configuration.cpuidPortabilityLevel, to: profile)
    for change in configuration.cpuidOverrides {
      if let registers = change.registers, registers.count == 4 {
        profile = profile.setting(
          CPUIDLeaf(
            change.leaf, change.subleaf, eax: registers[0], ebx: registers[1], ecx: registers[2], edx: registers[3]))
      } else {
        profile = profile.removing(leaf: change.leaf, subleaf: change.subleaf)
      }
    }
    return profile
  }

  func reset() {
    for cpu in cpus { cpu.reset() }
    setA20(true)
    // Only the first CPU starts by itself (Intel SDM vol. 3A, 8.4.1).
    for cpu in cpus.dropFirst() { cpu.s.pointee.activity = UInt32(VM_WAIT_FOR_SIPI) }
  }

  private func setA20(_ open: Bool) {
    for (cpu, environment) in zip(cpus, environments) {
      cpu.s.pointee.a20_mask = open ? .max : ~(1 << 20)
      environment.post(UInt32(VM_PENDING_TLB_FLUSH))
    }
  }
}
